/// Token texts back to text: the steps of a tokenizer.json's decoder, in order.
struct TokenDecoder: Sendable {
    enum Step: Sendable {
        case byteLevel
        case replace(TextPattern, content: [UInt8])
        /// Runs of `<0xNN>` become their bytes, or U+FFFD for each where those are not UTF-8.
        case byteFallback
        case fuse
        case strip(Unicode.Scalar, start: Int, stop: Int)
        /// As long as nothing stands before a token, it loses a space at its start: SentencePiece's rule where it takes extra spaces away.
        case leadingSpaces
        /// `replacement` becomes a space, in the first token nothing where `dropsFirst`.
        case metaspace(Unicode.Scalar, dropsFirst: Bool)
        case wordPiece(prefix: [UInt8], cleansUp: Bool)
        /// The suffix becomes a space, behind the last token nothing.
        case wordSuffix([UInt8])
    }

    /// Without steps the tokens are joined with spaces.
    var steps: [Step]?

    /// The text of tokens; bytes that are no UTF-8 become U+FFFD.
    func decode(_ tokens: [[UInt8]]) -> [UInt8] {
        guard let steps else { return Array(tokens.joined(separator: [0x20])) }
        var tokens = tokens
        for step in steps { tokens = Self.apply(step, to: tokens) }
        return Array(tokens.joined())
    }

    private static func apply(_ step: Step, to tokens: [[UInt8]]) -> [[UInt8]] {
        switch step {
        case .byteLevel:
            let bytes = tokens.flatMap { byteLevelBytes($0) }
            return [Array(String(decoding: bytes, as: UTF8.self).utf8)]
        case .replace(let pattern, let content): return tokens.map { replaced($0, pattern, content) }
        case .byteFallback: return joiningBytes(tokens)
        case .fuse: return [Array(tokens.joined())]
        case .strip(let scalar, let start, let stop): return tokens.map { stripped($0, Array(String(scalar).utf8), start, stop) }
        case .leadingSpaces:
            var isEmpty = true
            return tokens.map { token in
                let rest = isEmpty && token.first == 0x20 ? Array(token.dropFirst()) : token
                isEmpty = isEmpty && rest.isEmpty
                return rest
            }
        case .metaspace(let scalar, let dropsFirst):
            let mark = Array(String(scalar).utf8)
            return tokens.enumerated().map { replaced($1, .literal(mark), $0 == 0 && dropsFirst ? [] : [0x20]) }
        case .wordPiece(let prefix, let cleansUp):
            return tokens.enumerated().map { index, token in
                var text = token
                if index > 0 { text = token.starts(with: prefix) && !prefix.isEmpty ? Array(token.dropFirst(prefix.count)) : [0x20] + token }
                return cleansUp ? cleaned(text) : text
            }
        case .wordSuffix(let suffix):
            return tokens.enumerated().map { replaced($1, .literal(suffix), $0 == tokens.count - 1 ? [] : [0x20]) }
        }
    }

    /// The bytes of a token of `ByteAlphabet`; a text with other scalars stands for itself.
    static func byteLevelBytes(_ token: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        return ByteAlphabet.append(bytesOf: String(decoding: token, as: UTF8.self), to: &result) ? result : token
    }

    static func replaced(_ token: [UInt8], _ pattern: TextPattern, _ content: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var at = 0
        // A token is short: an expression that takes too many steps on it leaves the rest as it is.
        try? pattern.forEachMatch(in: token) { match in
            result += token[at..<match.lowerBound]
            result += content
            at = match.upperBound
        }
        result += token[at...]
        return result
    }

    private static func joiningBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var run: [UInt8] = []
        func flush() {
            if run.isEmpty { return }
            result.append(textOfBytes(run))
            run = []
        }
        for token in tokens {
            if let byte = token.count == 6 ? ByteAlphabet.fallbackByte(String(decoding: token, as: UTF8.self)) : nil {
                run.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    /// A run of byte tokens: itself where it is UTF-8, else U+FFFD for every byte.
    static func textOfBytes(_ run: [UInt8]) -> [UInt8] {
        if String(validating: run, as: UTF8.self) != nil { return run }
        return Array(repeatElement([0xEF, 0xBF, 0xBD], count: run.count).joined())
    }

    private static func stripped(_ token: [UInt8], _ mark: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
        var part = token[...]
        for _ in 0..<max(0, start) where part.starts(with: mark) { part = part.dropFirst(mark.count) }
        for _ in 0..<max(0, stop) where part.count >= mark.count && part.suffix(mark.count).elementsEqual(mark) { part = part.dropLast(mark.count) }
        return Array(part)
    }

    private static let untidy: [(String, String)] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"),
        (" 've", "'ve"), (" 're", "'re"),
    ]

    private static func cleaned(_ token: [UInt8]) -> [UInt8] {
        untidy.reduce(token) { replaced($0, .literal(Array($1.0.utf8)), Array($1.1.utf8)) }
    }
}

/// Every id's bytes, where the steps of a decoder work on each token by itself: decoding is joining them.
struct DecodedTokens: Sendable {
    /// What every id decodes to, but at the start of a text.
    private(set) var table = TokenTable()
    /// Ids of `<0xNN>`, whose runs are checked.
    private(set) var isByte: [Bool] = []
    /// What an id decodes to at the start, where it differs.
    private var atStart: [Int32: [UInt8]] = [:]
    /// Bytes of spaces that the start of a text loses.
    private(set) var stripsSpaces = 0
    /// As long as nothing stands before an id's bytes they lose a space at their start.
    private(set) var stripsLeadingSpaces = false

    /// nil for steps that are not of this kind.
    init?(_ texts: [[UInt8]], _ decoder: TokenDecoder) {
        guard let steps = decoder.steps else { return nil }
        var checksBytes = false
        var isFused = false
        var isByteLevel = false
        var metaspace: [UInt8]?
        for step in steps {
            switch step {
            case .byteLevel where steps.count == 1: isByteLevel = true
            case .replace where !isFused && !checksBytes: break
            case .byteFallback where !isFused: checksBytes = true
            case .fuse: isFused = true
            case .strip(" ", let start, stop: 0) where isFused && stripsSpaces == 0: stripsSpaces = start
            case .leadingSpaces where !isFused && !checksBytes: stripsLeadingSpaces = true
            case .metaspace(let scalar, let dropsFirst) where !isFused && !checksBytes && metaspace == nil:
                metaspace = dropsFirst ? Array(String(scalar).utf8) : nil
            default: return nil
            }
        }
        for (id, text) in texts.enumerated() {
            var bytes = text
            if isByteLevel { bytes = TokenDecoder.byteLevelBytes(text) }
            var first = bytes
            for step in steps {
                switch step {
                case .replace(let pattern, let content):
                    bytes = TokenDecoder.replaced(bytes, pattern, content)
                    first = TokenDecoder.replaced(first, pattern, content)
                case .metaspace(let scalar, let dropsFirst):
                    let mark = Array(String(scalar).utf8)
                    bytes = TokenDecoder.replaced(bytes, .literal(mark), [0x20])
                    first = TokenDecoder.replaced(first, .literal(mark), dropsFirst ? [] : [0x20])
                default: break
                }
            }
            let byte = checksBytes && bytes.count == 6 ? ByteAlphabet.fallbackByte(String(decoding: bytes, as: UTF8.self)) : nil
            isByte.append(byte != nil)
            if let byte { bytes = [byte] }
            if byte == nil, first != bytes { atStart[Int32(id)] = first }
            table.append(bytes)
        }
    }

    /// What `id` decodes to.
    func bytes(of id: Int32, isFirst: Bool) -> ArraySlice<UInt8> {
        if isFirst, let first = atStart[id] { return first[...] }
        return table.bytes[table.offsets[Int(id)]..<table.offsets[Int(id) + 1]]
    }
}
