import LorikeetGround
import LorikeetModelFiles

extension Tokenizer {
    /// The tokenizer in a GGUF's metadata (`tokenizer.ggml.*`, `tokenizer.chat_template`): `gpt2` (byte-level), `llama`
    /// (SentencePiece with scores) or `t5` (Unigram).
    ///
    /// - Throws: exit 2 naming the key that is missing, or the kind that is not supported.
    package init(gguf: GGUFFile) throws {
        let metadata = GGUFTokenizerMetadata(gguf)
        let kind = try metadata.string("model")
        let tokens = try metadata.strings("tokens")
        let added = try metadata.added(tokens, isSentencePiece: kind != "gpt2")
        let unknown = metadata.unknown
        var parts: TokenizerCore.Parts
        switch kind {
        case "gpt2": parts = try metadata.byteLevel(tokens, added)
        case "llama": parts = try metadata.sentencePiece(tokens, added, unknown)
        case "t5": parts = try metadata.unigram(tokens, unknown)
        default: throw metadata.failure("the tokenizer model “\(kind)” is not supported")
        }
        let isPrefixed = kind != "gpt2" && metadata.flag("add_space_prefix", true)
        parts.decoder.steps = kind == "gpt2" ? [.byteLevel] : [.replace(.literal(Array("\u{2581}".utf8)), content: [0x20]), .byteFallback, .fuse]
        if isPrefixed { parts.decoder.steps?.append(.strip(" ", start: 1, stop: 0)) }
        var names = TokenNames(
            bos: metadata.id("bos_token_id"), eos: metadata.id("eos_token_id"), pad: metadata.id("padding_token_id"), unknown: unknown)
        names.ends = ["eot_token_id", "eom_token_id"].compactMap(metadata.id)
        if let bos = names.bos, metadata.flag("add_bos_token", kind == "llama") { names.prefix = [bos] }
        if let eos = names.eos, metadata.flag("add_eos_token", kind == "t5") { names.suffix = [eos] }
        for (key, id) in [("bos_token_id", names.bos), ("eos_token_id", names.eos)] {
            guard let id, id < 0 || Int(id) >= tokens.count else { continue }
            throw metadata.failure("tokenizer.ggml.\(key) is \(id), and there are \(tokens.count) tokens")
        }
        let core = try TokenizerCore(texts: tokens, added: added, parts: parts, source: gguf.path)
        try self.init(core: core, names: names, chatTemplates: ChatTemplateSources(gguf: gguf))
    }
}

/// Reads `tokenizer.ggml.*`, each with an error that names the key.
private struct GGUFTokenizerMetadata {
    let file: GGUFFile

    init(_ file: GGUFFile) { self.file = file }

    func failure(_ what: String) -> LorikeetError {
        .input(what, at: file.path, fix: "use the model's safetensors directory, or a GGUF with a byte-pair tokenizer")
    }

    func string(_ key: String) throws -> String {
        guard let value = file.metadata["tokenizer.ggml.\(key)"]?.string else {
            throw failure("the file has no tokenizer (tokenizer.ggml.\(key) is missing)")
        }
        return value
    }

    func strings(_ key: String) throws -> [String] {
        guard let value = file.metadata["tokenizer.ggml.\(key)"]?.strings else {
            throw failure("the tokenizer's list tokenizer.ggml.\(key) is missing")
        }
        guard value.count < BytePairModel.maximumTokens else { throw failure("tokenizer.ggml.\(key) has \(value.count) entries") }
        return value
    }

    func flag(_ key: String, _ absent: Bool) -> Bool { file.metadata["tokenizer.ggml.\(key)"]?.bool ?? absent }

    /// The unknown token: by its key, else the token of that type.
    var unknown: Int32? {
        id("unknown_token_id") ?? (file.metadata["tokenizer.ggml.token_type"]?.ints?.firstIndex(of: 2)).flatMap(Int32.init(exactly:))
    }

    func id(_ key: String) -> Int32? { file.metadata["tokenizer.ggml.\(key)"]?.int.flatMap(Int32.init(exactly:)) }

    // MARK: - Kinds

    /// `gpt2`: bytes, words by the pre-tokenizer's name.
    func byteLevel(_ tokens: [String], _ added: [AddedToken]) throws -> TokenizerCore.Parts {
        let pre = file.metadata["tokenizer.ggml.pre"]?.string ?? "default"
        guard let known = GGUFPreTokenizer.named(pre) else { throw failure("the pre-tokenizer “\(pre)” (tokenizer.ggml.pre) is not known") }
        let reading = try known.reading(addsSpace: flag("add_space_prefix", false), place: file.path)
        var rules = TokenizerRules(.byteLevel(.gpt2))
        rules.ignoresMerges = known.ignoresMerges
        let model = try BytePairModel(
            vocabulary: tokens, isFindable: findable(tokens, added), merges: .pairs(merges()), rules: rules,
            // A byte-level vocabulary covers every byte: `unknown` is a name only.
            unknown: nil, source: file.path)
        var parts = TokenizerCore.Parts(plan: reading.plan, model: .bytePair(model))
        parts.normalizer = reading.normalizer
        return parts
    }

    /// `llama`: SentencePiece with scores.
    func sentencePiece(_ tokens: [String], _ added: [AddedToken], _ unknown: Int32?) throws -> TokenizerCore.Parts {
        var rules = TokenizerRules(.spaces)
        rules.fallsBackToBytes = true
        rules.fusesUnknown = true
        let model = try BytePairModel(
            vocabulary: tokens, isFindable: findable(tokens, added), merges: .scores(scores(count: tokens.count)), rules: rules, unknown: unknown,
            source: file.path)
        var parts = TokenizerCore.Parts(plan: .spaces(.never, splits: false), model: .bytePair(model))
        parts.normalizer = try normalizer()
        return parts
    }

    /// `t5`: Unigram. Sums in double precision, as llama.cpp and the tokenizer.json of such a model have them.
    func unigram(_ tokens: [String], _ unknown: Int32?) throws -> TokenizerCore.Parts {
        let types = file.metadata["tokenizer.ggml.token_type"]?.ints ?? []
        var settings = UnigramModel.Settings(unknown: unknown)
        settings.hasSpaces = true
        settings.fallsBackToBytes = types.contains(6)
        // A user's tokens are found before.
        for (id, type) in types.enumerated() where type != 1 { settings.excluded.insert(Int32(id)) }
        let model = try UnigramModel(pieces: tokens, scores: scores(count: tokens.count).map(Double.init), settings: settings, source: file.path)
        var parts = TokenizerCore.Parts(plan: .spaces(.never, splits: false), model: .unigram(model))
        parts.normalizer = try normalizer()
        return parts
    }

    /// The normaliser that the keys tell of; nothing where they ask for nothing.
    private func normalizer() throws -> Normalizer {
        var charsmap: Charsmap?
        if let blob = file.metadata["tokenizer.ggml.precompiled_charsmap"]?.ints, !blob.isEmpty {
            charsmap = try Charsmap(blob.map { UInt8(truncatingIfNeeded: $0) }, place: file.path)
        }
        let addsPrefix = flag("add_space_prefix", true)
        let removes = flag("remove_extra_whitespaces", false)
        if charsmap == nil, !removes {
            return Normalizer(steps: [.replace(.literal(Array("\u{2581}".utf8)), content: " ")] + (addsPrefix ? [.prepend(" ")] : []))
        }
        return Normalizer(steps: [.sentencePiece(SentencePieceNormalization(charsmap: charsmap, addsPrefix: addsPrefix, removesExtraSpaces: removes))])
    }

    /// Tokens that text may become without being found before: all but the added ones.
    private func findable(_ tokens: [String], _ added: [AddedToken]) -> [Bool] {
        var result = tokens.map { !$0.isEmpty }
        for token in added where result.indices.contains(Int(token.id)) { result[Int(token.id)] = false }
        return result
    }

    /// `left right`, with the first space after the first byte between them.
    func merges() throws -> [(String, String)] {
        try strings("merges").enumerated().map { index, merge in
            guard let pair = splitMerge(merge) else { throw failure("merge \(index) (“\(merge)”) is not two tokens") }
            return pair
        }
    }

    func scores(count: Int) throws -> [Float] {
        guard let scores = file.metadata["tokenizer.ggml.scores"]?.floats, scores.count == count else {
            throw failure("tokenizer.ggml.scores does not have one score for each of \(count) tokens")
        }
        return scores
    }

    /// Types: 1 normal, 2 unknown, 3 control, 4 added by a user, 5 unused, 6 byte.
    func added(_ tokens: [String], isSentencePiece: Bool) throws -> [AddedToken] {
        guard let types = file.metadata["tokenizer.ggml.token_type"]?.ints else { return [] }
        guard types.count == tokens.count else {
            throw failure("tokenizer.ggml.token_type has \(types.count) entries for \(tokens.count) tokens")
        }
        return types.indices.compactMap { id in
            guard (2...4).contains(types[id]), let number = Int32(exactly: id) else { return nil }
            // A user's `▁▁` means two spaces of the text.
            let text =
                isSentencePiece && types[id] == 4
                ? PythonText.replace(tokens[id], "\u{2581}", " ") : tokens[id]
            return AddedToken(id: number, text: text, isSpecial: types[id] != 4)
        }
    }
}

/// `left right` → its two tokens; nil without a space after the first byte.
func splitMerge(_ merge: String) -> (String, String)? {
    let bytes = merge.utf8
    guard let second = bytes.index(bytes.startIndex, offsetBy: 1, limitedBy: bytes.endIndex),
        let space = bytes[second...].firstIndex(of: 0x20), bytes.index(after: space) < bytes.endIndex
    else { return nil }
    return (String(merge[..<space]), String(merge[bytes.index(after: space)...]))
}
