import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The tokenizer that goes with a model merged from a GGUF: `tokenizer.json` and `tokenizer_config.json` from its metadata.
package struct MergedTokenizer {
    let gguf: GGUFFile
    let files: any Files

    /// - Returns: why there is no tokenizer in the directory, for the user; nil where there is one, or the base has none.
    func write(to directory: String) throws -> String? {
        guard let kind = gguf.metadata["tokenizer.ggml.model"]?.string else { return nil }
        guard let metadata = TokenizerMetadata(gguf) else { return "the merged model has no tokenizer: '\(kind)' has no tokenizer.json here" }
        try files.writeDurably(metadata.file.serialized(), to: directory + "/tokenizer.json")
        try files.writeDurably(metadata.configuration(gguf).serialized(pretty: true) + "\n", to: directory + "/tokenizer_config.json")
        return nil
    }
}

/// A GGUF's tokenizer (`tokenizer.ggml.*`) as Hugging Face's `tokenizers` library writes one.
private struct TokenizerMetadata {
    private let tokens: [String]
    private let types: [Int]
    private let parts: TokenizerParts
    /// Begins every text, where that is so.
    private let beginning: Int?

    /// nil for kinds that have no `tokenizer.json` here.
    init?(_ gguf: GGUFFile) {
        func value(_ key: String) -> GGUFValue? { gguf.metadata["tokenizer.ggml.\(key)"] }
        guard let tokens = value("tokens")?.strings else { return nil }
        self.tokens = tokens
        let types = value("token_type")?.ints ?? []
        self.types = types
        let isSentencePiece = value("model")?.string == "llama"
        switch value("model")?.string {
        case "gpt2":
            guard let merges = value("merges")?.strings, let parts = TokenizerParts.byteLevel(kind: value("pre")?.string ?? "default", merges: merges)
            else { return nil }
            self.parts = parts
        case "llama":
            guard let scores = value("scores")?.floats, scores.count == tokens.count else { return nil }
            let added = Set(types.indices.filter { (2...4).contains(types[$0]) })
            parts = .sentencePiece(
                merges: SentencePieceMerges.merges(tokens, scores, added: added), addsPrefix: value("add_space_prefix")?.bool ?? true,
                unknown: value("unknown_token_id")?.int.flatMap { tokens.indices.contains($0) ? tokens[$0] : nil })
        default: return nil
        }
        let begins = value("add_bos_token")?.bool ?? isSentencePiece
        beginning = begins ? value("bos_token_id")?.int.flatMap { tokens.indices.contains($0) ? $0 : nil } : nil
    }

    var file: JSON {
        // llama.cpp's token types: 2 unknown, 3 control, 4 user defined.
        let special = tokens.indices.filter { $0 < types.count && (types[$0] == 3 || types[$0] == 4 || (types[$0] == 2 && parts.isSentencePiece)) }
        let added = special.map { id -> JSON in
            // A user's `▁▁` means two spaces of the text.
            let content = parts.isSentencePiece && types[id] == 4 ? SentencePieceMerges.text(tokens[id]) : tokens[id]
            return [
                "id": JSON(id), "content": .string(content), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": .bool(types[id] != 4),
            ]
        }
        var model: JSONObject = [
            "type": "BPE", "dropout": .null, "unk_token": parts.unknown.map { .string($0) } ?? .null, "continuing_subword_prefix": .null,
            "end_of_word_suffix": .null, "fuse_unk": .bool(parts.isSentencePiece), "byte_fallback": .bool(parts.isSentencePiece),
            "ignore_merges": .bool(parts.ignoresMerges),
        ]
        model["vocab"] = .object(JSONObject(tokens.enumerated().map { ($1, JSON($0)) }))
        model["merges"] = JSON(parts.merges)
        return [
            "version": "1.0", "truncation": .null, "padding": .null, "added_tokens": .array(added), "normalizer": parts.normalizer,
            "pre_tokenizer": parts.preTokenizer, "post_processor": postProcessor, "decoder": parts.decoder, "model": .object(model),
        ]
    }

    /// Puts the token before every text that a GGUF's `add_bos_token` puts there.
    private var postProcessor: JSON {
        guard let beginning else { return .null }
        let token = tokens[beginning]
        let known: JSON = ["id": .string(token), "ids": [JSON(beginning)], "tokens": [.string(token)]]
        func special(_ type: Int) -> JSON { ["SpecialToken": ["id": .string(token), "type_id": JSON(type)]] }
        func sequence(_ id: String, _ type: Int) -> JSON { ["Sequence": ["id": .string(id), "type_id": JSON(type)]] }
        return [
            "type": "TemplateProcessing", "single": [special(0), sequence("A", 0)], "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
            "special_tokens": .object(JSONObject([(token, known)])),
        ]
    }

    func configuration(_ gguf: GGUFFile) -> JSON {
        var configuration: JSONObject = ["tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false]
        for (key, name) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("unk_token", "unknown_token_id"), ("pad_token", "padding_token_id")]
        {
            if let id = gguf.metadata["tokenizer.ggml.\(name)"]?.int, tokens.indices.contains(id) { configuration[key] = .string(tokens[id]) }
        }
        if let template = gguf.metadata["tokenizer.chat_template"]?.string { configuration["chat_template"] = .string(template) }
        return .object(configuration)
    }
}
