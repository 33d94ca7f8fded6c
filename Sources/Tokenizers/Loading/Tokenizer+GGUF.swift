import LorikeetGround
import LorikeetModelFiles

extension Tokenizer {
    /// The tokenizer in a GGUF's metadata (`tokenizer.ggml.*`, `tokenizer.chat_template`): `gpt2` (byte-level) or `llama`
    /// (SentencePiece with scores).
    ///
    /// - Throws: exit 2 naming the key that is missing, or the kind that is not supported.
    package init(gguf: GGUFFile) throws {
        let metadata = GGUFTokenizerMetadata(gguf)
        let kind = try metadata.string("model")
        let tokens = try metadata.strings("tokens")
        var rules: TokenizerRules
        let order: MergeOrder
        switch kind {
        case "gpt2":
            let pre = gguf.metadata["tokenizer.ggml.pre"]?.string ?? "default"
            guard let pattern = SplitPattern.named(pre) else {
                throw metadata.failure("the pre-tokenizer “\(pre)” is not supported yet")
            }
            rules = TokenizerRules(.byteLevel(pattern))
            rules.ignoresMerges = pattern == .llama3
            // Files say nothing of it; these families' own tokenizers compose (NFC).
            rules.normalizesNFC = pattern == .qwen2
            if gguf.metadata["tokenizer.ggml.add_space_prefix"]?.bool == true { rules.prefix = .everywhere }
            order = .pairs(try metadata.merges())
        case "llama":
            rules = TokenizerRules(.sentencePiece)
            rules.fallsBackToBytes = true
            rules.fusesUnknown = true
            if gguf.metadata["tokenizer.ggml.add_space_prefix"]?.bool ?? true {
                rules.prefix = .everywhere
                rules.prefixOnlyIfMissing = false
                rules.stripsLeadingSpace = true
            }
            order = .scores(try metadata.scores(count: tokens.count))
        default: throw metadata.failure("the tokenizer model “\(kind)” is not supported yet")
        }
        var names = TokenNames(
            bos: metadata.id("bos_token_id"), eos: metadata.id("eos_token_id"), pad: metadata.id("padding_token_id"),
            unknown: metadata.id("unknown_token_id"))
        names.ends = ["eot_token_id", "eom_token_id"].compactMap(metadata.id)
        names.addsBOS = gguf.metadata["tokenizer.ggml.add_bos_token"]?.bool ?? (kind == "llama")
        let model = try BytePairModel(
            vocabulary: tokens, merges: order, rules: rules,
            added: try metadata.added(tokens, isSentencePiece: kind == "llama"),
            // A byte-level vocabulary covers every byte: `unknown` is a name only.
            unknown: kind == "llama" ? names.unknown : nil, source: gguf.path)
        self.init(model: model, names: names, chatTemplateSource: gguf.metadata["tokenizer.chat_template"]?.string)
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

    func id(_ key: String) -> Int32? { file.metadata["tokenizer.ggml.\(key)"]?.int.flatMap(Int32.init(exactly:)) }

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
