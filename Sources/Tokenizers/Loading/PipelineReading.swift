import LorikeetGround
import LorikeetJSON

/// Reads the normaliser and the pre-tokenizer of a tokenizer.json, and finds the fast way of those that are known.
struct PipelineReading {
    let file: TokenizerFile
    private(set) var normalizer = Normalizer()
    private(set) var plan = WordPlan.steps(PreTokenizer(), readsBytes: false)
    private(set) var alphabet = TokenizerRules.Alphabet.scalars
    /// The normaliser writes `▁` for spaces.
    private(set) var writesMarks = false

    static let metaspace: Unicode.Scalar = "\u{2581}"

    init(file: TokenizerFile) throws {
        self.file = file
        let normalizers = file.normalizerSteps
        let steps = file.preTokenizerSteps
        let model = file.modelKind
        let isByteLevel = (steps + normalizers).contains { $0["type"]?.string == "ByteLevel" }
        if isByteLevel {
            normalizer.steps = try normalizers.map(normalization)
            let readsBytes = model == "BPE" && !file.hasAffixes
            let pattern = readsBytes && !normalizers.contains { $0["type"]?.string == "ByteLevel" } ? Self.pattern(steps) : nil
            if readsBytes { alphabet = .byteLevel(pattern?.pattern ?? .gpt2) }
            if let (known, addsSpace) = pattern {
                plan = .pattern(known, addsSpace: addsSpace)
            } else {
                plan = .steps(try preTokenizer(steps), readsBytes: readsBytes)
            }
        } else if model == "Unigram" || (model == "BPE" && !file.hasAffixes), let spaces = spacesPlan(normalizers, steps) {
            alphabet = .spaces
            plan = spaces.plan
            writesMarks = spaces.replacement != nil
            normalizer.steps = try normalizers.enumerated().map { index, step in
                // From here on spaces and `▁` are one: the model reads spaces.
                if index == spaces.replacement { return .replace(.literal(Array(String(Self.metaspace).utf8)), content: " ") }
                if let content = step["prepend"]?.string, content == String(Self.metaspace), spaces.replacement != nil { return .prepend(" ") }
                return try normalization(step)
            }
        } else {
            normalizer.steps = try normalizers.map(normalization)
            plan = .steps(try preTokenizer(steps), readsBytes: false)
        }
    }

    // MARK: - Known ways

    /// The scanner that does all the steps, and whether the text gets a space in front.
    private static func pattern(_ steps: [JSON]) -> (pattern: SplitPattern, addsSpace: Bool)? {
        guard let last = steps.last, last["type"]?.string == "ByteLevel" else { return nil }
        let addsSpace = last["add_prefix_space"]?.bool ?? true
        let splits = last["use_regex"]?.bool ?? true
        let before = steps.dropLast()
        if before.isEmpty { return splits ? (.gpt2, addsSpace) : nil }
        guard !addsSpace else { return nil }
        if splits {
            guard before.count == 1, let decimalOnly = digits(before[0]) else { return nil }
            return (.digitsThenGPT2(decimalOnly: decimalOnly), false)
        }
        let expressions = before.map { step in isCut(step) ? step["pattern"]?["Regex"]?.string : nil }
        if before.count == 1, let text = expressions[0], let known = SplitPattern.regex(text) { return (known, false) }
        if before.count == 2, let decimalOnly = digits(before[0]), let text = expressions[1], SplitPattern.regex(text) == .gpt2 {
            return (.digitsThenGPT2(decimalOnly: decimalOnly), false)
        }
        let isDeepSeek =
            before.count == 3 && before.allSatisfy { $0["behavior"]?.string == "Isolated" } && expressions[0] == SplitPattern.deepSeekNumbers
            && expressions[1] == SplitPattern.deepSeekIdeographs && expressions[2].map(escapingNewlines) == SplitPattern.deepSeekWords
        return isDeepSeek ? (.deepSeek, false) : nil
    }

    /// Newlines as the escapes that mean them.
    private static func escapingNewlines(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { $0 += $1 == "\r" ? "\\r" : $1 == "\n" ? "\\n" : String($1) }
    }

    /// Matches that become the words: of a pattern that leaves nothing over, both forms are one.
    private static func isCut(_ step: JSON) -> Bool {
        guard step["type"]?.string == "Split" else { return false }
        let isInverted = step["invert"]?.bool ?? false
        return step["behavior"]?.string == (isInverted ? "Removed" : "Isolated")
    }

    /// A step that makes every digit a word: false for all numbers, true for decimal digits alone.
    private static func digits(_ step: JSON) -> Bool? {
        if step["type"]?.string == "Digits" { return step["individual_digits"]?.bool == true ? false : nil }
        guard step["type"]?.string == "Split", step["behavior"]?.string == "Isolated", step["invert"]?.bool != true else { return nil }
        switch step["pattern"]?["Regex"]?.string {
        case #"\p{N}"#: return false
        case #"\d"#, #"\p{Nd}"#: return true
        default: return nil
        }
    }

    /// The plan where spaces become `▁` last of all: by a normaliser, or by Metaspace.
    private func spacesPlan(_ normalizers: [JSON], _ steps: [JSON]) -> (plan: WordPlan, replacement: Int?)? {
        let mark = String(Self.metaspace)
        let replacement = normalizers.lastIndex {
            $0["type"]?.string == "Replace" && $0["pattern"]?["String"]?.string == " " && $0["content"]?.string == mark
        }
        if let replacement {
            let isLast = normalizers[(replacement + 1)...].allSatisfy { $0["type"]?.string == "Prepend" && $0["prepend"]?.string == mark }
            guard isLast else { return nil }
        }
        // Where no space is left there is none to split at (Gemma).
        let steps = steps.filter { replacement == nil || !($0["type"]?.string == "Split" && $0["pattern"]?["String"]?.string == " ") }
        if steps.isEmpty, replacement != nil { return (.spaces(.never, splits: false), replacement) }
        guard steps.count == 1, steps[0]["type"]?.string == "Metaspace", steps[0]["replacement"]?.string ?? mark == mark, let scheme = prepend(steps[0])
        else { return nil }
        return (.spaces(scheme, splits: steps[0]["split"]?.bool ?? true), replacement)
    }

    private func prepend(_ step: JSON) -> PreTokenizer.Prepend? {
        guard let scheme = step["prepend_scheme"]?.string else { return step["add_prefix_space"]?.bool == false ? .never : .always }
        return PreTokenizer.Prepend(rawValue: scheme)
    }

    // MARK: - Steps

    private func normalization(_ step: JSON) throws -> Normalizer.Step {
        func flag(_ key: String, _ absent: Bool) -> Bool { step[key]?.bool ?? absent }
        switch step["type"]?.string ?? "" {
        case "NFC": return .form(.nfc)
        case "NFD": return .form(.nfd)
        case "NFKC": return .form(.nfkc)
        case "NFKD": return .form(.nfkd)
        case "Lowercase": return .lowercase
        case "Strip": return .strip(left: flag("strip_left", true), right: flag("strip_right", true))
        case "StripAccents": return .stripAccents
        case "Nmt": return .nmt
        case "ByteLevel": return .byteLevel
        case "Prepend":
            guard let text = step["prepend"]?.string, !text.isEmpty else { throw file.broken("the normaliser “Prepend” has no “prepend”") }
            return .prepend(text)
        case "Replace":
            guard let content = step["content"]?.string else { throw file.broken("the normaliser “Replace” has no “content”") }
            let pattern = try pattern(step["pattern"])
            // The library fails on texts of which such a pattern matches nothing: `^`, `x*`, `\b`.
            var isEmpty = false
            try pattern.forEachMatch(in: Array("z z".utf8)) { if $0.isEmpty { isEmpty = true } }
            if case .literal([]) = pattern { isEmpty = true }
            if isEmpty { throw file.unsupported("the normaliser “Replace” with a pattern that matches the empty text") }
            return .replace(pattern, content: content)
        case "Precompiled":
            guard let text = step["precompiled_charsmap"]?.string, let blob = Base64.decode(text) else {
                throw file.broken("the normaliser “Precompiled” has no “precompiled_charsmap” in base 64")
            }
            return .charsmap(try Charsmap(blob, place: file.source))
        case "BertNormalizer":
            let lowercases = flag("lowercase", true)
            return .bert(
                BertNormalization(
                    cleansText: flag("clean_text", true), spacesChinese: flag("handle_chinese_chars", true),
                    stripsAccents: flag("strip_accents", lowercases), lowercases: lowercases))
        case let other: throw file.unsupported("the normaliser “\(other)”")
        }
    }

    private func pattern(_ json: JSON?) throws -> TextPattern {
        if let text = json?["String"]?.string { return .literal(Array(text.utf8)) }
        guard let text = json?["Regex"]?.string else { throw file.broken("a pattern is neither “String” nor “Regex”") }
        return .expression(try RegularExpression(text, place: file.source))
    }

    private func preTokenizer(_ steps: [JSON]) throws -> PreTokenizer { PreTokenizer(steps: try steps.flatMap(preTokenization)) }

    private func preTokenization(_ step: JSON) throws -> [PreTokenizer.Step] {
        switch step["type"]?.string ?? "" {
        case "ByteLevel":
            return [.byteLevel(addsSpace: step["add_prefix_space"]?.bool ?? true, splits: step["use_regex"]?.bool ?? true)]
        case "Split":
            guard let behavior = step["behavior"]?.string.flatMap(SplitBehavior.init) else {
                throw file.unsupported("the behaviour “\(step["behavior"]?.string ?? "")” of a “Split”")
            }
            if Self.isCut(step), let text = step["pattern"]?["Regex"]?.string, let known = SplitPattern.regex(text) {
                return [.split(.known(known), .isolated, isInverted: false)]
            }
            return [.split(try pattern(step["pattern"]), behavior, isInverted: step["invert"]?.bool ?? false)]
        case "Digits":
            let isolated = step["individual_digits"]?.bool ?? false
            return [.split(.scalars(.numeric), isolated ? .isolated : .contiguous, isInverted: false)]
        case "Punctuation":
            guard let behavior = SplitBehavior(rawValue: step["behavior"]?.string ?? "Isolated") else {
                throw file.unsupported("the behaviour “\(step["behavior"]?.string ?? "")” of “Punctuation”")
            }
            return [.split(.scalars(.punctuation), behavior, isInverted: false)]
        case "Whitespace": return [.whitespace]
        case "WhitespaceSplit": return [.split(.scalars(.whitespace), .removed, isInverted: false)]
        case "BertPreTokenizer":
            return [.split(.scalars(.whitespace), .removed, isInverted: false), .split(.scalars(.punctuation), .isolated, isInverted: false)]
        case "CharDelimiterSplit":
            guard let scalar = step["delimiter"]?.string?.unicodeScalars.first else { throw file.broken("“CharDelimiterSplit” has no “delimiter”") }
            return [.split(.scalars(.scalar(scalar.value)), .removed, isInverted: false)]
        case "FixedLength":
            let length = step["length"]?.int ?? 5
            guard length > 0 else { throw file.broken("“FixedLength” has the length \(length)") }
            return [.fixedLength(length)]
        case "Metaspace":
            guard let scalar = (step["replacement"]?.string ?? String(Self.metaspace)).unicodeScalars.first, let scheme = prepend(step) else {
                throw file.unsupported("“Metaspace” with the scheme “\(step["prepend_scheme"]?.string ?? "")”")
            }
            return [.metaspace(replacement: scalar, scheme, splits: step["split"]?.bool ?? true)]
        case let other: throw file.unsupported("the pre-tokenizer “\(other)”")
        }
    }
}

extension TokenizerFile {
    /// The decoder's steps.
    func decoder() throws -> TokenDecoder {
        let steps = parts(json["decoder"], "decoders")
        if json["decoder"]?.isNull ?? true { return TokenDecoder() }
        return TokenDecoder(
            steps: try steps.map { step in
                switch step["type"]?.string ?? "" {
                case "ByteLevel": return .byteLevel
                case "ByteFallback": return .byteFallback
                case "Fuse": return .fuse
                case "Replace":
                    let content = Array((step["content"]?.string ?? "").utf8)
                    if let text = step["pattern"]?["String"]?.string { return .replace(.literal(Array(text.utf8)), content: content) }
                    guard let text = step["pattern"]?["Regex"]?.string else { throw broken("the decoder “Replace” has no pattern") }
                    return .replace(.expression(try RegularExpression(text, place: source)), content: content)
                case "Strip":
                    guard let scalar = step["content"]?.string?.unicodeScalars.first else { throw broken("the decoder “Strip” has no “content”") }
                    func count(_ key: String) -> Int { min(max(step[key]?.int ?? 0, 0), 1 << 16) }
                    return .strip(scalar, start: count("start"), stop: count("stop"))
                case "Metaspace":
                    let scalar = step["replacement"]?.string?.unicodeScalars.first ?? PipelineReading.metaspace
                    return .metaspace(scalar, dropsFirst: step["prepend_scheme"]?.string != "never" && step["add_prefix_space"]?.bool != false)
                case "WordPiece":
                    return .wordPiece(prefix: Array((step["prefix"]?.string ?? "##").utf8), cleansUp: step["cleanup"]?.bool ?? true)
                case "BPEDecoder": return .wordSuffix(Array((step["suffix"]?.string ?? "</w>").utf8))
                case let other: throw unsupported("the decoder “\(other)”")
                }
            })
    }
}

/// Base 64 (RFC 4648).
package enum Base64 {
    package static func encode(_ bytes: [UInt8]) -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for place in 0..<4 { result.append(place <= group.count ? letters[bits >> (18 - 6 * place) & 63] : 0x3D) }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// nil for what is not base 64.
    static func decode(_ text: String) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count * 3 / 4)
        var bits: UInt32 = 0
        var count = 0
        var isPadded = false
        for byte in text.utf8 {
            let value: UInt8
            switch byte {
            case 0x41...0x5A: value = byte - 0x41
            case 0x61...0x7A: value = byte - 0x61 + 26
            case 0x30...0x39: value = byte - 0x30 + 52
            case 0x2B: value = 62
            case 0x2F: value = 63
            case 0x3D:
                isPadded = true
                continue
            default: return nil
            }
            if isPadded { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return result
    }
}
