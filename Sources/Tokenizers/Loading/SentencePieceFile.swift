import LorikeetGround
import LorikeetJSON

/// Reads a SentencePiece model (`tokenizer.model`): the fields of its protocol buffer that encoding uses.
struct SentencePieceFile {
    enum Kind: Int {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    struct Piece {
        var text = ""
        var score: Float = 0
        var kind = Kind.normal
    }

    private(set) var pieces: [Piece] = []
    private(set) var modelType = 1
    private(set) var bos: Int32? = 1
    private(set) var eos: Int32? = 2
    private(set) var pad: Int32?
    private var fallsBackToBytes = false
    private var prefixIsSuffix = false
    private(set) var charsmap: [UInt8] = []
    private(set) var addsPrefix = true
    private var removesExtraSpaces = true
    private var escapesSpaces = true
    let source: String

    /// - Throws: exit 2 where the file is none, is cut short, or has parts that are not supported.
    init(_ data: [UInt8], source: String) throws(LorikeetError) {
        self.source = source
        if Self.isTiktoken(data) {
            throw .input(
                "the tokenizer is a tiktoken file (lines of base 64 and a rank), which says neither the pattern nor the special tokens", at: source,
                fix: "use the model's tokenizer.json (the repository converted for transformers has it)")
        }
        var reader = ProtobufReader(data[...], source: source)
        while let field = try reader.next() {
            switch field.number {
            case 1: pieces.append(try Self.piece(field, source))
            case 2: try readTrainer(field)
            case 3: try readNormalizer(field)
            case 5:
                var part = ProtobufReader(field.bytes, source: source)
                while let rule = try part.next() {
                    guard rule.number == 2, !rule.bytes.isEmpty else { continue }
                    throw .input("a SentencePiece model with a denormalizer (rules that change decoded text) is not supported", at: source)
                }
            default: break
            }
            guard pieces.count < BytePairModel.maximumTokens else {
                throw .input("the tokenizer has more than \(BytePairModel.maximumTokens) pieces", at: source)
            }
        }
        guard !pieces.isEmpty else { throw ProtobufReader.broken("has no pieces", source) }
        guard modelType == 1 || modelType == 2 else {
            throw .input("a SentencePiece model of type \(modelType == 3 ? "“word”" : modelType == 4 ? "“char”" : "\(modelType)") is not supported", at: source)
        }
        guard escapesSpaces else { throw .input("a SentencePiece model with escape_whitespaces false is not supported", at: source) }
    }

    /// Text whose first line is base 64, a space and a number.
    private static func isTiktoken(_ data: [UInt8]) -> Bool {
        let line = data.prefix(4096).prefix { $0 != 0x0A }
        let parts = line.split(separator: 0x20)
        guard parts.count == 2, data.count > line.count else { return false }
        return Int(String(decoding: parts[1], as: UTF8.self)) != nil && Base64.decode(String(decoding: parts[0], as: UTF8.self)) != nil
    }

    private static func piece(_ field: ProtobufReader.Field, _ source: String) throws(LorikeetError) -> Piece {
        var piece = Piece()
        var reader = ProtobufReader(field.bytes, source: source)
        while let part = try reader.next() {
            switch part.number {
            case 1:
                guard let text = String(validating: part.bytes, as: UTF8.self) else { throw ProtobufReader.broken("has a piece that is not UTF-8", source) }
                piece.text = text
            case 2: piece.score = Float(bitPattern: UInt32(truncatingIfNeeded: part.value))
            case 3:
                guard let kind = Kind(rawValue: Int(truncatingIfNeeded: part.value)) else {
                    throw ProtobufReader.broken("has a piece of the unknown type \(part.value)", source)
                }
                piece.kind = kind
            default: break
            }
        }
        return piece
    }

    private mutating func readTrainer(_ field: ProtobufReader.Field) throws(LorikeetError) {
        func id(_ value: UInt64) -> Int32? {
            let id = Int32(truncatingIfNeeded: value)
            return id < 0 ? nil : id
        }
        var reader = ProtobufReader(field.bytes, source: source)
        while let part = try reader.next() {
            switch part.number {
            case 3: modelType = Int(truncatingIfNeeded: part.value)
            case 24: prefixIsSuffix = part.value != 0
            case 35: fallsBackToBytes = part.value != 0
            case 41: bos = id(part.value)
            case 42: eos = id(part.value)
            case 43: pad = id(part.value)
            default: break
            }
        }
    }

    private mutating func readNormalizer(_ field: ProtobufReader.Field) throws(LorikeetError) {
        var reader = ProtobufReader(field.bytes, source: source)
        while let part = try reader.next() {
            switch part.number {
            case 2: charsmap = Array(part.bytes)
            case 3: addsPrefix = part.value != 0
            case 4: removesExtraSpaces = part.value != 0
            case 5: escapesSpaces = part.value != 0
            default: break
            }
        }
    }

    var unknown: Int32? { pieces.firstIndex { $0.kind == .unknown }.map { Int32($0) } }

    private func ids(_ kinds: Kind...) -> [Int32] { pieces.indices.filter { kinds.contains(pieces[$0].kind) }.map { Int32($0) } }

    /// - Parameters:
    ///   - added: beyond the model's own control pieces.
    ///   - prefixOnlyAtStart: no `▁` before text that follows an added token.
    func core(added: [AddedToken], prefixOnlyAtStart: Bool) throws(LorikeetError) -> TokenizerCore {
        let texts = pieces.map(\.text)
        let userDefined = ids(.userDefined)
        let model: TokenModel
        if modelType == 1 {
            var settings = UnigramModel.Settings(unknown: unknown, fallsBackToBytes: fallsBackToBytes, isSinglePrecision: true, hasSpaces: true)
            settings.userDefined = Set(userDefined)
            settings.excluded = Set(ids(.unknown, .control, .unused, .byte))
            model = .unigram(try UnigramModel(pieces: texts, scores: pieces.map { Double($0.score) }, settings: settings, source: source))
        } else {
            var rules = TokenizerRules(.spaces)
            rules.fallsBackToBytes = fallsBackToBytes
            rules.fusesUnknown = true
            model = .bytePair(
                try BytePairModel(
                    vocabulary: texts, isFindable: pieces.map { $0.kind == .normal || $0.kind == .unused || $0.kind == .userDefined },
                    merges: .scores(pieces.map(\.score)), rules: rules, unknown: unknown, unused: Set(ids(.unused)), frozen: userDefined, source: source))
        }
        var map: Charsmap?
        if !charsmap.isEmpty { map = try Charsmap(charsmap, place: source) }
        var rules = SentencePieceNormalization(
            charsmap: map, addsPrefix: addsPrefix, removesExtraSpaces: removesExtraSpaces, verbatim: userDefined.map { Array(texts[Int($0)].utf8) })
        rules.prefixIsSuffix = prefixIsSuffix
        rules.prefixOnlyAtStart = prefixOnlyAtStart
        var parts = TokenizerCore.Parts(plan: .spaces(.never, splits: false), model: model)
        parts.normalizer.steps = [.sentencePiece(rules)]
        parts.decoder.steps = [.replace(.literal(Array("\u{2581}".utf8)), content: [0x20])]
        if removesExtraSpaces { parts.decoder.steps?.append(.leadingSpaces) }
        // A piece may be written like a byte without being one.
        if pieces.contains(where: { $0.kind == .byte }) { parts.decoder.steps?.append(.byteFallback) }
        parts.decoder.steps?.append(.fuse)
        if addsPrefix, !removesExtraSpaces { parts.decoder.steps?.append(.strip(" ", start: 1, stop: 0)) }
        let known = Set(added.map(\.id))
        let own = ids(.unknown, .control).filter { !known.contains($0) }.map { AddedToken(id: $0, text: texts[Int($0)], isSpecial: true) }
        return try TokenizerCore(texts: texts, added: own + added, parts: parts, source: source)
    }
}

/// A message in the wire format of protocol buffers: field by field, bounds checked.
struct ProtobufReader {
    struct Field {
        let number: UInt64
        /// A number, or the bits of a 4- or 8-byte value.
        var value: UInt64 = 0
        /// The content of a length-delimited field.
        var bytes: ArraySlice<UInt8> = []
    }

    private var rest: ArraySlice<UInt8>
    private let source: String

    init(_ bytes: ArraySlice<UInt8>, source: String) { (rest, self.source) = (bytes, source) }

    static func broken(_ what: String, _ source: String) -> LorikeetError {
        .input("the SentencePiece model \(what)", at: source, fix: "download the file again")
    }

    private mutating func varint() throws(LorikeetError) -> UInt64 {
        var value: UInt64 = 0
        for shift: UInt64 in stride(from: 0, to: 70, by: 7) {
            guard let byte = rest.popFirst() else { throw Self.broken("is cut short", source) }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        throw Self.broken("has a number of more than 10 bytes", source)
    }

    private mutating func take(_ count: UInt64) throws(LorikeetError) -> ArraySlice<UInt8> {
        guard count <= UInt64(rest.count) else { throw Self.broken("is cut short, or is no SentencePiece model", source) }
        defer { rest = rest.dropFirst(Int(count)) }
        return rest.prefix(Int(count))
    }

    /// The next field; nil at the end.
    mutating func next() throws(LorikeetError) -> Field? {
        if rest.isEmpty { return nil }
        let key = try varint()
        var field = Field(number: key >> 3)
        switch key & 7 {
        case 0: field.value = try varint()
        case 1, 5:
            for byte in try take(key & 7 == 1 ? 8 : 4).reversed() { field.value = field.value << 8 | UInt64(byte) }
        case 2: field.bytes = try take(varint())
        default: throw Self.broken("has a field of wire type \(key & 7)", source)
        }
        return field
    }
}

extension Tokenizer {
    /// The names under which repositories have a SentencePiece model.
    static let sentencePieceNames = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model"]

    /// The tokenizer of a SentencePiece model, with the tokens that transformers adds to it.
    ///
    /// - Parameters:
    ///   - settings: `tokenizer_config.json`; its `added_tokens_decoder` holds tokens by id.
    ///   - addedTokens: `added_tokens.json`: ids by text.
    init(
        sentencePiece data: [UInt8], source: String, settings: JSON?, specials: JSON?, addedTokens: JSON?, endIDs: [Int32], chatTemplates: ChatTemplateSources
    ) throws {
        let file = try SentencePieceFile(data, source: source)
        var added: [AddedToken] = []
        for (key, token) in settings?["added_tokens_decoder"]?.object?.entries ?? [] {
            guard let id = Int32(key), let text = token["content"]?.string else {
                throw LorikeetError.input("an entry of added_tokens_decoder (“\(key)”) has no id or “content”", at: source)
            }
            added.append(TokenizerFile.addedToken(token, id: id, text: text))
        }
        let known = Set(added.map(\.id))
        for (text, value) in addedTokens?.object?.entries ?? [] {
            guard let id = value.int.flatMap(Int32.init(exactly:)) else {
                throw LorikeetError.input("the token “\(text)” of added_tokens.json has no id", at: source)
            }
            if !known.contains(id) { added.append(AddedToken(id: id, text: text, isSpecial: false)) }
        }
        let core = try file.core(added: added, prefixOnlyAtStart: settings?["legacy"]?.bool == false)
        func id(_ name: String) -> Int32? { (Self.tokenText(settings?[name]) ?? Self.tokenText(specials?[name])).flatMap(core.id) }
        var names = TokenNames(
            bos: id("bos_token") ?? file.bos, eos: id("eos_token") ?? file.eos, pad: id("pad_token") ?? file.pad, unknown: id("unk_token") ?? file.unknown)
        names.ends = endIDs
        let (bosFirst, eosLast) = Self.affixes(ofClass: settings?["tokenizer_class"]?.string ?? "")
        if bosFirst, let bos = names.bos { names.prefix = [bos] }
        if eosLast, let eos = names.eos { names.suffix = [eos] }
        names.apply(settings: settings)
        self.init(core: core, names: names, chatTemplates: chatTemplates)
    }

    /// Whether transformers' class puts `bos` before and `eos` behind a text.
    private static func affixes(ofClass name: String) -> (bos: Bool, eos: Bool) {
        let name = name.hasSuffix("Fast") ? String(name.dropLast(4)) : name
        switch name {
        case "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer": return (true, false)
        case "T5Tokenizer", "MT5Tokenizer", "PegasusTokenizer": return (false, true)
        case "XLMRobertaTokenizer", "CamembertTokenizer", "AlbertTokenizer", "MBartTokenizer": return (true, true)
        default: return (false, false)
        }
    }
}
