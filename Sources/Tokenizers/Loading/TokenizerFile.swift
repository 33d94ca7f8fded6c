import LorikeetGround
import LorikeetJSON

/// Reads a `tokenizer.json` (Hugging Face's `tokenizers`). Whatever it does not know it refuses by name, for a tokenizer that is nearly
/// right trains the wrong thing.
struct TokenizerFile {
    let json: JSON
    let source: String

    func unsupported(_ what: String) -> LorikeetError {
        .input("\(what) is not supported", at: source, fix: "use a tokenizer.json without it")
    }

    func broken(_ what: String) -> LorikeetError { .input(what, at: source, fix: "download the file again") }

    /// Parts of a `Sequence`, however nested, or the one part.
    func parts(_ json: JSON?, _ key: String) -> [JSON] {
        guard let json, !json.isNull else { return [] }
        if json["type"]?.string == "Sequence" { return (json[key]?.array ?? []).flatMap { parts($0, key) } }
        return [json]
    }

    var normalizerSteps: [JSON] { parts(json["normalizer"], "normalizers") }
    var preTokenizerSteps: [JSON] { parts(json["pre_tokenizer"], "pretokenizers") }

    /// The tables and the way of a text through them.
    ///
    /// - Parameters:
    ///   - settings: `tokenizer_config.json`.
    ///   - specials: `special_tokens_map.json`.
    func core(settings: JSON?, specials: JSON?) throws -> (core: TokenizerCore, unknown: Int32?) {
        let kind = modelKind
        let reading = try PipelineReading(file: self)
        var parts: TokenizerCore.Parts
        let texts: [String]
        var unknown: Int32?
        var added: AddedTokenReading
        switch kind {
        case "BPE":
            let vocabulary = try self.vocabulary()
            texts = vocabulary.texts
            added = AddedTokenReading(modelCount: vocabulary.ids.count) { vocabulary.ids[$0] }
            unknown = json["model"]?["unk_token"]?.string.flatMap { vocabulary.ids[Array($0.utf8)] }
            let model = try BytePairModel(
                vocabulary: texts, isFindable: texts.map { !$0.isEmpty }, merges: .pairs(merges()), rules: rules(reading.alphabet), unknown: unknown,
                source: source)
            parts = TokenizerCore.Parts(plan: reading.plan, model: .bytePair(model))
        case "Unigram":
            let (pieces, scores) = try pieces()
            texts = pieces
            let ids = Dictionary(pieces.enumerated().map { (Array($1.utf8), Int32(truncatingIfNeeded: $0)) }, uniquingKeysWith: { $1 })
            added = AddedTokenReading(modelCount: pieces.count) { ids[$0] }
            var settings = UnigramModel.Settings()
            settings.unknown = try unigramUnknown(count: pieces.count)
            settings.fallsBackToBytes = json["model"]?["byte_fallback"]?.bool ?? false
            if case .spaces = reading.plan { settings.hasSpaces = true }
            unknown = settings.unknown
            parts = TokenizerCore.Parts(
                plan: reading.plan, model: .unigram(try UnigramModel(pieces: pieces, scores: scores, settings: settings, source: source)))
        case "WordPiece", "WordLevel":
            let vocabulary = try self.vocabulary()
            texts = vocabulary.texts
            added = AddedTokenReading(modelCount: vocabulary.ids.count) { vocabulary.ids[$0] }
            unknown = vocabulary.ids[Array((json["model"]?["unk_token"]?.string ?? "[UNK]").utf8)]
            parts = TokenizerCore.Parts(plan: reading.plan, model: try wordModel(kind, vocabulary.ids, unknown))
        default: throw unsupported("the tokenizer model “\(kind)”")
        }
        parts.normalizer = reading.normalizer
        parts.decoder = try decoder()
        parts.trimmings = trimmings()
        parts.writesMarks = reading.writesMarks
        for token in try self.added() { try added.add(token, source: source) }
        try added.add(settings: settings, specials: specials, source: source)
        parts.warnings = added.warning.map { ["\(source): \($0)"] } ?? []
        return (try TokenizerCore(texts: texts, added: added.tokens, parts: parts, source: source), unknown)
    }

    // MARK: - Model

    /// The model's type; files of old do not write it.
    var modelKind: String {
        if let type = json["model"]?["type"]?.string { return type }
        if json["model"]?["unk_id"] != nil { return "Unigram" }
        return json["model"]?["merges"] == nil && json["model"]?["max_input_chars_per_word"] != nil ? "WordPiece" : "BPE"
    }

    var hasAffixes: Bool {
        ["continuing_subword_prefix", "end_of_word_suffix"].contains { key in !(json["model"]?[key]?.string ?? "").isEmpty }
    }

    /// Texts by id (ids that are missing: empty), and ids by text in UTF-8.
    func vocabulary() throws -> (texts: [String], ids: [[UInt8]: Int32]) {
        guard let vocabulary = json["model"]?["vocab"]?.object else { throw broken("“model” has no “vocab”") }
        var texts: [String] = []
        var ids: [[UInt8]: Int32] = [:]
        ids.reserveCapacity(vocabulary.entries.count)
        let most = TokenizerCore.mostIDs(tokens: vocabulary.entries.count)
        var isTaken: [Bool] = []
        for (text, value) in vocabulary.entries {
            guard let id = value.int, id >= 0, id < most else {
                throw broken("the token “\(text)” has no usable id")
            }
            while texts.count <= id {
                texts.append("")
                isTaken.append(false)
            }
            guard !isTaken[id] else { throw broken("the tokens “\(texts[id])” and “\(text)” have the same id \(id)") }
            isTaken[id] = true
            texts[id] = text
            ids[Array(text.utf8)] = Int32(id)
        }
        return (texts, ids)
    }

    private func rules(_ alphabet: TokenizerRules.Alphabet) throws -> TokenizerRules {
        let model = json["model"]
        if let dropout = model?["dropout"], !dropout.isNull, dropout.double != 0 {
            throw unsupported("“dropout” of the model (tokens chosen at random)")
        }
        var rules = TokenizerRules(alphabet)
        rules.lastMergeCounts = true
        rules.ignoresMerges = model?["ignore_merges"]?.bool ?? false
        rules.fusesUnknown = model?["fuse_unk"]?.bool ?? false
        rules.fallsBackToBytes = model?["byte_fallback"]?.bool ?? false
        rules.continuingPrefix = model?["continuing_subword_prefix"]?.string ?? ""
        rules.wordSuffix = model?["end_of_word_suffix"]?.string ?? ""
        return rules
    }

    /// Pairs, written as `"a b"` or `["a", "b"]`.
    func merges() throws -> [(String, String)] {
        guard let merges = json["model"]?["merges"]?.array else { throw broken("“model” has no “merges”") }
        return try merges.enumerated().map { index, merge in
            if let text = merge.string, let pair = splitMerge(text) { return pair }
            if let pair = merge.array, pair.count == 2, let left = pair[0].string, let right = pair[1].string {
                return (left, right)
            }
            throw broken("merge \(index) is not two tokens")
        }
    }

    private func pieces() throws -> (texts: [String], scores: [Double]) {
        guard let vocabulary = json["model"]?["vocab"]?.array else { throw broken("“model” has no “vocab”") }
        guard !vocabulary.isEmpty, vocabulary.count < BytePairModel.maximumTokens else {
            throw broken("“vocab” of the Unigram model has \(vocabulary.count) pieces")
        }
        var texts: [String] = []
        var scores: [Double] = []
        for (index, entry) in vocabulary.enumerated() {
            guard let pair = entry.array, pair.count == 2, let text = pair[0].string, let score = pair[1].double else {
                throw broken("piece \(index) of the Unigram model is not a text and a score")
            }
            texts.append(text)
            scores.append(score)
        }
        return (texts, scores)
    }

    private func unigramUnknown(count: Int) throws -> Int32? {
        guard let value = json["model"]?["unk_id"], !value.isNull else { return nil }
        guard let id = value.int, id >= 0, id < count else { throw broken("“unk_id” of the Unigram model is none of its \(count) pieces") }
        return Int32(id)
    }

    private func wordModel(_ kind: String, _ ids: [[UInt8]: Int32], _ unknown: Int32?) throws -> TokenModel {
        if kind == "WordLevel" { return .wordLevel(WordLevelModel(ids: ids, unknown: unknown)) }
        guard let unknown else { throw broken("the WordPiece model's unknown token is not in its vocabulary") }
        let longest = json["model"]?["max_input_chars_per_word"]?.int ?? 100
        guard (1...10_000).contains(longest) else { throw broken("“max_input_chars_per_word” is \(longest), not 1 to 10,000") }
        let prefix = Array((json["model"]?["continuing_subword_prefix"]?.string ?? "##").utf8)
        return .wordPiece(WordPieceModel(ids: ids, unknown: unknown, prefix: prefix, longestWord: longest))
    }

    /// The added tokens with the ids that the file writes.
    func added() throws -> [AddedToken] {
        try (json["added_tokens"]?.array ?? []).map { token in
            guard let text = token["content"]?.string, let id = token["id"]?.int.flatMap(Int32.init(exactly:)) else {
                throw broken("an added token has no “content” or “id”")
            }
            return Self.addedToken(token, id: id, text: text)
        }
    }

    static func addedToken(_ json: JSON, id: Int32, text: String) -> AddedToken {
        func flag(_ key: String) -> Bool { json[key]?.bool ?? false }
        return AddedToken(
            id: id, text: text, isSpecial: flag("special"), stripsLeft: flag("lstrip"), stripsRight: flag("rstrip"), isSingleWord: flag("single_word"),
            isNormalized: json["normalized"]?.bool ?? !flag("special"))
    }

    // MARK: - Post-processor

    /// What the post-processor puts before and behind a single text.
    func affixes() throws -> (prefix: [Int32], suffix: [Int32]) {
        var prefix: [Int32] = []
        var suffix: [Int32] = []
        var hasTemplate = false
        for part in parts(json["post_processor"], "processors") {
            let type = part["type"]?.string ?? ""
            if hasTemplate, type != "ByteLevel" { throw unsupported("the post-processor “\(type)” behind a “TemplateProcessing”") }
            switch type {
            case "ByteLevel": break
            case "BertProcessing", "RobertaProcessing":
                func id(_ key: String) throws -> Int32 {
                    guard let id = part[key]?.array?.last?.int.flatMap(Int32.init(exactly:)) else { throw broken("the post-processor's “\(key)” has no id") }
                    return id
                }
                prefix.insert(try id("cls"), at: 0)
                suffix.append(try id("sep"))
            case "TemplateProcessing":
                hasTemplate = true
                var before: [Int32] = []
                var isBehind = false
                for piece in part["single"]?.array ?? [] {
                    if piece["Sequence"] != nil {
                        isBehind = true
                    } else if let name = piece["SpecialToken"]?["id"]?.string {
                        let ids = (part["special_tokens"]?[name]?["ids"]?.array ?? []).compactMap { $0.int.flatMap(Int32.init(exactly:)) }
                        guard !ids.isEmpty else { throw broken("the post-processor's special token “\(name)” has no ids") }
                        if isBehind { suffix += ids } else { before += ids }
                    }
                }
                prefix = before + prefix
            case let other: throw unsupported("the post-processor “\(other)”")
            }
        }
        return (prefix, suffix)
    }

    private func trimmings() -> [RangeTrimming] {
        parts(json["post_processor"], "processors").compactMap { part in
            let type = part["type"]?.string
            guard type == "ByteLevel" || type == "RobertaProcessing", part["trim_offsets"]?.bool ?? true else { return nil }
            return RangeTrimming(keepsPrefix: part["add_prefix_space"]?.bool ?? true)
        }
    }
}
