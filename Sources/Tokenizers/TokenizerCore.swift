import LorikeetGround

/// What makes ids of words.
enum TokenModel: Sendable {
    case bytePair(BytePairModel)
    case unigram(UnigramModel)
    case wordPiece(WordPieceModel)
    case wordLevel(WordLevelModel)

    /// Whether it looks words up in a `WordCache`.
    var keepsWords: Bool {
        switch self {
        case .bytePair, .unigram: true
        case .wordPiece, .wordLevel: false
        }
    }

    func forOneThread() -> TokenModel {
        switch self {
        case .bytePair(let model): .bytePair(BytePairModel(sharing: model))
        case .unigram(let model): .unigram(UnigramModel(sharing: model))
        case .wordPiece, .wordLevel: self
        }
    }
}

/// How a normalised stretch becomes words, and which of the model's ways encodes them.
enum WordPlan: Sendable {
    /// Byte-level: the words of a known pattern, in one pass with the model.
    case pattern(SplitPattern, addsSpace: Bool)
    /// Spaces stand for `▁`; with one in front where the scheme says so and there is none.
    case spaces(PreTokenizer.Prepend, splits: Bool)
    /// Step by step. `readsBytes`: the model reads bytes, which a step has written as scalars of `ByteAlphabet`.
    case steps(PreTokenizer, readsBytes: Bool)

    func forOneThread() -> WordPlan {
        switch self {
        case .pattern, .spaces: self
        case .steps(let steps, let readsBytes): .steps(steps.forOneThread(), readsBytes: readsBytes)
        }
    }
}

/// Ranges as a ByteLevel post-processor trims them: without the spaces at the ends of tokens.
struct RangeTrimming: Sendable, Equatable {
    /// The space that encoding puts before a text is not taken from the first range.
    var keepsPrefix: Bool
}

/// The tables of a tokenizer and the way of a text through them.
final class TokenizerCore: Sendable {
    /// The text of every id, as the model's file writes it.
    let texts: [String]
    /// Added tokens: those that are found in the text before the merges are applied.
    let added: [AddedToken]
    private let special: [Bool]
    private let addedIDs: [[UInt8]: Int32]
    private let given: AddedTokenMatcher
    private let normalized: AddedTokenMatcher
    private let normalizer: Normalizer
    private let plan: WordPlan
    private let model: TokenModel
    private let trimmings: [RangeTrimming]
    let warnings: [String]
    let decoder: TokenDecoder
    let decoded: DecodedTokens?
    private let decoderTexts: [[UInt8]]
    private let caches = WordCaches()

    struct Parts {
        var normalizer = Normalizer()
        var plan: WordPlan
        var model: TokenModel
        var trimmings: [RangeTrimming] = []
        /// The normaliser writes `▁` for spaces, which the normalised text has as spaces here: they are no white space.
        var writesMarks = false
        var decoder = TokenDecoder()
        /// What a file says and the tokenizer does not do.
        var warnings: [String] = []
    }

    /// Ids that a tokenizer of so many tokens may have: some leave gaps, but a number in a file does not decide how long the tables are.
    static func mostIDs(tokens: Int) -> Int { min(BytePairModel.maximumTokens, Saturating.sum(1 << 16, Saturating.product(4, tokens))) }

    /// - Parameter texts: of every id of the model; added tokens may follow them or lie among them.
    init(texts: [String], added: [AddedToken], parts: Parts, source: String) throws(LorikeetError) {
        var texts = texts
        let most = Self.mostIDs(tokens: texts.count + added.count)
        for token in added {
            guard token.id >= 0, token.id < most else {
                throw LorikeetError.input("added token “\(token.text)” has the id \(token.id), outside the vocabulary", at: source)
            }
            while texts.count <= Int(token.id) { texts.append("") }
            texts[Int(token.id)] = token.text
        }
        var special = [Bool](repeating: false, count: texts.count)
        for token in added { special[Int(token.id)] = token.isSpecial }
        self.special = special
        self.texts = texts
        let added = added.filter { !$0.text.isEmpty }
        self.added = added
        addedIDs = Dictionary(added.map { (Array($0.text.utf8), $0.id) }, uniquingKeysWith: { first, _ in first })
        let plain = added.filter { !$0.isNormalized }
        given = try AddedTokenMatcher(plain, texts: plain.map { Array($0.text.utf8) }, source: source)
        var forms: [[UInt8]] = []
        let changed = added.filter(\.isNormalized)
        for token in changed {
            var stretch = Stretch(bytes: Array(token.text.utf8), sources: nil, origin: 0)
            try parts.normalizer.apply(to: &stretch)
            forms.append(stretch.bytes)
        }
        normalized = try AddedTokenMatcher(changed, texts: forms, spacesAreMarks: parts.writesMarks, source: source)
        normalizer = parts.normalizer
        plan = parts.plan
        model = parts.model
        trimmings = parts.trimmings
        warnings = parts.warnings
        decoder = parts.decoder
        var decoderTexts = texts.map { Array($0.utf8) }
        // A normalised token is decoded from its normalised form.
        for (token, form) in zip(changed, forms) where !form.isEmpty {
            decoderTexts[Int(token.id)] = parts.writesMarks ? Array(form.map { $0 == 0x20 ? [0xE2, 0x96, 0x81] : [$0] }.joined()) : form
        }
        decoded = DecodedTokens(decoderTexts, parts.decoder)
        self.decoderTexts = decoded == nil ? decoderTexts : []
    }

    /// The same tables in objects of its own: see `Tokenizer.forOneThread`.
    init(sharing other: TokenizerCore) {
        (texts, added, special, addedIDs) = (other.texts, other.added, other.special, other.addedIDs)
        (given, normalized, normalizer) = (other.given, other.normalized, other.normalizer.forOneThread())
        (plan, model) = (other.plan.forOneThread(), other.model.forOneThread())
        (trimmings, warnings) = (other.trimmings, other.warnings)
        (decoder, decoded, decoderTexts) = (other.decoder, other.decoded, other.decoderTexts)
    }

    func id(of text: String) -> Int32? {
        if let id = addedIDs[Array(text.utf8)] { return id }
        switch model {
        case .bytePair(let model): return model.id(of: text)
        case .unigram(let model): return model.id(of: text)
        case .wordPiece(let model): return model.ids[Array(text.utf8)]
        case .wordLevel(let model): return model.ids[Array(text.utf8)]
        }
    }

    func isSpecial(_ id: Int32) -> Bool { special.indices.contains(Int(id)) && special[Int(id)] }

    /// A token's text as the decoder reads it.
    func decoderText(of id: Int32) -> [UInt8] { decoderTexts.indices.contains(Int(id)) ? decoderTexts[Int(id)] : [] }

    // MARK: - Encoding

    /// The ids of valid UTF-8, and the byte range of each where `wantsRanges`.
    func encode(_ text: UnsafeBufferPointer<UInt8>, parseSpecial: Bool, wantsRanges: Bool) throws(LorikeetError) -> TokenizedText {
        guard text.count > 0 else { return TokenizedText() }
        guard text.count < Int(UInt32.max) else {
            throw LorikeetError.input("a text of \(text.count) bytes is too long to be tokenised at once", fix: "split it into texts below 4 GiB")
        }
        let cache = model.keepsWords ? caches.take() : nil
        defer { if let cache { caches.put(cache) } }
        var sink = TokenSink(wantsRanges: wantsRanges, expecting: text.count / 3 + 4, cache: cache)
        try given.forEachPart(in: text, parseSpecial: parseSpecial) { match in
            sink.append(match.token.id, placed: match.range)
        } text: { range throws(LorikeetError) in
            try encodeStretch(text, range, parseSpecial: parseSpecial, &sink)
        }
        if wantsRanges { for trimming in trimmings { trim(&sink, trimming, text) } }
        return TokenizedText(ids: sink.ids, ranges: sink.ranges)
    }

    /// Encodes text between two added tokens: normalisation, the added tokens of the normalised text, words, model.
    private func encodeStretch(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, parseSpecial: Bool, _ sink: inout TokenSink
    ) throws(LorikeetError) {
        let part = UnsafeBufferPointer(rebasing: text[range])
        if !normalizer.mayChange(part) {
            if normalized.isEmpty {
                try encodeGiven(text, range, &sink)
                return
            }
            try normalized.forEachPart(in: part, parseSpecial: parseSpecial) { match in
                sink.append(match.token.id, placed: range.lowerBound + match.range.lowerBound..<range.lowerBound + match.range.upperBound)
            } text: { inner throws(LorikeetError) in
                try encodeGiven(text, range.lowerBound + inner.lowerBound..<range.lowerBound + inner.upperBound, &sink)
            }
            return
        }
        var stretch: Stretch
        if !sink.wantsRanges, !needsSources, let rules = normalizer.sentencePiece {
            stretch = rules.applied(to: part, origin: range.lowerBound)
        } else {
            stretch = Stretch(part, origin: range.lowerBound, wantsSources: sink.wantsRanges || needsSources)
            try normalizer.apply(to: &stretch)
        }
        if normalized.isEmpty {
            try encode(stretch, &sink)
            return
        }
        let whole = stretch
        try whole.bytes.withUnsafeBufferPointer { bytes throws(LorikeetError) in
            try normalized.forEachPart(in: bytes, parseSpecial: parseSpecial) { match in
                sink.noteFound()
                sink.append(match.token.id, range: match.range)
                sink.place(whole.sources ?? [])
            } text: { inner throws(LorikeetError) in
                try encode(whole.slice(inner), &sink)
            }
        }
    }

    private var needsSources: Bool {
        switch plan {
        case .steps(let steps, _): steps.needsSources
        case .spaces(.first, _): true
        default: false
        }
    }

    /// Encodes text that normalisation does not change.
    private func encodeGiven(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ sink: inout TokenSink) throws(LorikeetError) {
        let part = UnsafeBufferPointer(rebasing: text[range])
        switch plan {
        case .pattern(let pattern, let addsSpace) where !addsSpace || part.first == 0x20:
            sink.at = 0
            encodeWords(part, pattern, &sink)
            sink.place(in: text, origin: range.lowerBound)
        case .spaces(let scheme, let splits) where !needsPrefix(part, scheme, isAtStart: range.lowerBound == 0) && !Self.hasMetaspace(part):
            sink.at = 0
            try encodeSpaced(part, splits: splits, &sink)
            sink.place(in: text, origin: range.lowerBound)
        default: try encode(Stretch(part, origin: range.lowerBound, wantsSources: sink.wantsRanges || needsSources), &sink)
        }
    }

    /// Encodes a normalised stretch.
    private func encode(_ given: Stretch, _ sink: inout TokenSink) throws(LorikeetError) {
        guard !given.bytes.isEmpty else { return }
        var stretch = given
        var words: [Range<Int>] = []
        switch plan {
        case .pattern(_, let addsSpace): if addsSpace, stretch.bytes.first != 0x20 { Normalizer.prepend(" ", to: &stretch) }
        case .spaces(let scheme, _):
            if normalizer.sentencePiece == nil { stretch.turnMetaspacesIntoSpaces() }
            let isAtStart = stretch.sources?.first.map { $0.start == 0 } ?? (stretch.origin == 0)
            if stretch.bytes.withUnsafeBufferPointer({ needsPrefix($0, scheme, isAtStart: isAtStart) }) { Normalizer.prepend(" ", to: &stretch) }
        case .steps(let steps, let readsBytes):
            words = try steps.apply(to: &stretch, readsBytes: readsBytes)
        }
        try stretch.bytes.withUnsafeBufferPointer { bytes throws(LorikeetError) in
            sink.at = 0
            switch plan {
            case .pattern(let pattern, _): encodeWords(bytes, pattern, &sink)
            case .spaces(_, let splits): try encodeSpaced(bytes, splits: splits, &sink)
            case .steps: try encode(bytes, words, &sink)
            }
        }
        if sink.wantsRanges { sink.place(stretch.sources ?? []) }
    }

    private func encode(_ bytes: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) throws(LorikeetError) {
        switch model {
        case .bytePair(let model): model.encode(bytes, words, &sink)
        case .unigram(let model): try model.encode(bytes, words, &sink)
        case .wordPiece(let model): model.encode(bytes, words, &sink)
        case .wordLevel(let model): model.encode(bytes, words, &sink)
        }
    }

    private func needsPrefix(_ part: UnsafeBufferPointer<UInt8>, _ scheme: PreTokenizer.Prepend, isAtStart: Bool) -> Bool {
        guard scheme == .always || (scheme == .first && isAtStart) else { return false }
        return part.first != 0x20 && !part.starts(with: [0xE2, 0x96, 0x81])
    }

    static func hasMetaspace(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard text.count > 2 else { return false }
        for at in 0..<text.count - 2 where text[at] == 0xE2 && text[at + 1] == 0x96 && text[at + 2] == 0x81 { return true }
        return false
    }

    private func encodeSpaced(_ text: UnsafeBufferPointer<UInt8>, splits: Bool, _ sink: inout TokenSink) throws(LorikeetError) {
        switch model {
        case .bytePair(let model): model.encodeSpaced(text, splitsAtSpaces: splits, &sink)
        case .unigram(let model): try model.encode(text, at: 0, splitsAtSpaces: splits, &sink)
        default: try encode(text, [0..<text.count], &sink)
        }
    }

    private func encodeWords(_ text: UnsafeBufferPointer<UInt8>, _ pattern: SplitPattern, _ sink: inout TokenSink) {
        guard case .bytePair(let model) = model, let base = text.baseAddress, let table = CharacterClass.table else { return }
        let reader = ClassReader(bytes: base, classes: table)
        switch pattern {
        case .gpt2: model.encodeWords(reader, text.count, GPT2Scanner(), &sink)
        case .digitsThenGPT2(let decimalOnly): model.encodeWords(reader, text.count, DigitsScanner(decimalOnly: decimalOnly), &sink)
        case .contractionsAnyCase(let run, let joins):
            model.encodeWords(reader, text.count, ContractionsAnyCaseScanner(numberRun: run, joinsMarks: joins), &sink)
        case .cased(let run, let contractions): model.encodeWords(reader, text.count, CasedScanner(numberRun: run, contractions: contractions), &sink)
        case .deepSeek: model.encodeWords(reader, text.count, DeepSeekScanner(), &sink)
        }
    }

    /// Takes the spaces at the ends of tokens out of their ranges, as many as the tokens' texts have.
    private func trim(_ sink: inout TokenSink, _ trimming: RangeTrimming, _ text: UnsafeBufferPointer<UInt8>) {
        func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar == "\u{120}" || scalar.properties.isWhitespace }
        let found = sink.found
        let spaces = sink.spaces
        var next = 0
        sink.adjustRanges { id, index, range in
            // An added token's text is what it was found as, with the white space that it takes.
            let isFound = next < found.count && found[next] == index
            if isFound { next += 1 }
            let token = isFound ? String(decoding: text[range], as: UTF8.self).unicodeScalars : texts[Int(id)].unicodeScalars
            let own = spaces[index]
            var leading = own?.leading ?? token.prefix(while: isSpace).count
            let trailing = own?.trailing ?? token.reversed().prefix(while: isSpace).count
            guard leading > 0 || trailing > 0 else { return range }
            if trimming.keepsPrefix, leading == 1, index == 0 || range.lowerBound == 0 { leading = 0 }
            var low = range.lowerBound
            var high = range.upperBound
            for _ in 0..<leading where low < high { low += UTF8Scalar.length(text[low]) }
            low = min(low, high)
            for _ in 0..<trailing where high > low {
                high -= 1
                while high > low, text[high] & 0xC0 == 0x80 { high -= 1 }
            }
            return low..<high
        }
    }
}

extension Stretch {
    /// `▁` → a space, which has the source of its last byte.
    mutating func turnMetaspacesIntoSpaces() {
        guard bytes.withUnsafeBufferPointer(TokenizerCore.hasMetaspace) else { return }
        var new: [UInt8] = []
        var newSources: [Source] = []
        var at = 0
        while at < bytes.count {
            let isMark = at + 2 < bytes.count && bytes[at] == 0xE2 && bytes[at + 1] == 0x96 && bytes[at + 2] == 0x81
            new.append(isMark ? 0x20 : bytes[at])
            if let sources { newSources.append(sources[at]) }
            at += isMark ? 3 : 1
        }
        self = Stretch(bytes: new, sources: sources == nil ? nil : newSources, origin: origin)
    }

    /// Scalars of `ByteAlphabet` → their bytes; the words move along.
    mutating func turnAlphabetIntoBytes(_ words: [Range<Int>]) -> [Range<Int>] {
        var new: [UInt8] = []
        new.reserveCapacity(bytes.count)
        var newSources: [Source] = []
        var result: [Range<Int>] = []
        result.reserveCapacity(words.count)
        bytes.withUnsafeBufferPointer { bytes in
            for word in words {
                let start = new.count
                var at = word.lowerBound
                while at < word.upperBound {
                    let (value, length) = UTF8Scalar.read(bytes, at)
                    new.append(ByteAlphabet.byte(of: value) ?? 0)
                    if let sources { newSources.append(sources[at]) }
                    at += length
                }
                result.append(start..<new.count)
            }
        }
        self = Stretch(bytes: new, sources: sources == nil ? nil : newSources, origin: origin)
        return result
    }
}
