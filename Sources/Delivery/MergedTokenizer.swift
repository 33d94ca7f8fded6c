import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// The tokenizer that goes with a model merged from a GGUF: `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` from its metadata.
package struct MergedTokenizer {
    let gguf: GGUFFile
    let files: any Files

    /// - Returns: why there is no tokenizer in the directory, for the user; nil where there is one, or the base has none.
    func write(to directory: String) throws -> String? {
        guard let kind = gguf.metadata["tokenizer.ggml.model"]?.string else { return nil }
        guard let metadata = TokenizerMetadata(gguf) else { return "the merged model has no tokenizer: '\(kind)' has no tokenizer.json here" }
        try files.writeDurably(metadata.file.serialized(), to: directory + "/tokenizer.json")
        let templates = try ChatTemplateSources(gguf: gguf).templates
        try files.writeDurably(metadata.configuration(gguf, templates).serialized(pretty: true) + "\n", to: directory + "/tokenizer_config.json")
        // Today's place of a template; with several, those of `tokenizer_config.json` are read by every version.
        if templates.count == 1, let template = templates["default"] { try files.writeDurably(template, to: directory + "/" + Sidecar.templateFile) }
        return nil
    }
}

/// A GGUF's tokenizer (`tokenizer.ggml.*`) as Hugging Face's `tokenizers` library writes one.
private struct TokenizerMetadata {
    private let tokens: [String]
    private let types: [Int]
    private let parts: TokenizerParts
    private let unknown: Int?
    /// Begin and end every text, where that is so.
    private let beginning: Int?
    private let ending: Int?

    /// nil for kinds that have no `tokenizer.json` here.
    init?(_ gguf: GGUFFile) {
        func value(_ key: String) -> GGUFValue? { gguf.metadata["tokenizer.ggml.\(key)"] }
        guard var tokens = value("tokens")?.strings, let kind = value("model")?.string else { return nil }
        let types = value("token_type")?.ints ?? []
        if kind != "gpt2" {
            // A user's `▁▁` means two spaces of the text. The vocabulary must have the added token's own text, or it gets another id.
            for id in tokens.indices where id < types.count && types[id] == 4 { tokens[id] = SentencePieceMerges.text(tokens[id]) }
        }
        let count = tokens.count
        func token(_ key: String) -> Int? { value(key)?.int.flatMap { (0..<count).contains($0) ? $0 : nil } }
        self.tokens = tokens
        self.types = types
        unknown = token("unknown_token_id") ?? types.firstIndex(of: 2)
        let scores = value("scores")?.floats ?? []
        let spaces = SentencePieceSpaces(
            charsmap: (value("precompiled_charsmap")?.ints ?? []).map { UInt8(truncatingIfNeeded: $0) },
            addsPrefix: value("add_space_prefix")?.bool ?? true, removesExtra: value("remove_extra_whitespaces")?.bool ?? false)
        switch kind {
        case "gpt2":
            guard let merges = value("merges")?.strings, let known = GGUFPreTokenizer.named(value("pre")?.string ?? "default") else { return nil }
            parts = .byteLevel(known, addsSpace: value("add_space_prefix")?.bool ?? false, tokens: tokens, merges: merges)
        case "llama":
            guard scores.count == tokens.count else { return nil }
            let added = Set(types.indices.filter { (2...4).contains(types[$0]) })
            parts = .sentencePiece(spaces, tokens: tokens, merges: SentencePieceMerges.merges(tokens, scores, added: added), unknown: unknown)
        case "t5":
            guard scores.count == tokens.count else { return nil }
            parts = .unigram(spaces, tokens: tokens, scores: scores, types: types, unknown: unknown)
        default: return nil
        }
        beginning = value("add_bos_token")?.bool ?? (kind == "llama") ? token("bos_token_id") : nil
        ending = value("add_eos_token")?.bool ?? (kind == "t5") ? token("eos_token_id") : nil
    }

    var file: JSON {
        // llama.cpp's token types: 2 unknown, 3 control, 4 user defined.
        let added = tokens.indices.filter { $0 < types.count && (2...4).contains(types[$0]) }.map { id -> JSON in
            [
                "id": JSON(id), "content": .string(tokens[id]), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": .bool(types[id] != 4),
            ]
        }
        return [
            "version": "1.0", "truncation": .null, "padding": .null, "added_tokens": .array(added), "normalizer": parts.normalizer,
            "pre_tokenizer": parts.preTokenizer, "post_processor": postProcessor, "decoder": parts.decoder, "model": parts.model,
        ]
    }

    /// Puts the tokens before and behind every text that a GGUF's `add_bos_token` and `add_eos_token` put there.
    private var postProcessor: JSON {
        let specials = [beginning, ending].compactMap { $0 }
        guard !specials.isEmpty else { return .null }
        func special(_ id: Int?, _ type: Int) -> [JSON] { id.map { [["SpecialToken": ["id": .string(tokens[$0]), "type_id": JSON(type)]]] } ?? [] }
        func text(_ name: String, _ type: Int) -> [JSON] {
            special(beginning, type) + [["Sequence": ["id": .string(name), "type_id": JSON(type)]]] + special(ending, type)
        }
        var known: JSONObject = [:]
        for id in specials { known[tokens[id]] = ["id": .string(tokens[id]), "ids": [JSON(id)], "tokens": [.string(tokens[id])]] }
        return ["type": "TemplateProcessing", "single": .array(text("A", 0)), "pair": .array(text("A", 0) + text("B", 1)), "special_tokens": .object(known)]
    }

    func configuration(_ gguf: GGUFFile, _ templates: [String: String]) -> JSON {
        var configuration: JSONObject = ["tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false]
        for (key, name) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("pad_token", "padding_token_id")] {
            if let id = gguf.metadata["tokenizer.ggml.\(name)"]?.int, tokens.indices.contains(id) { configuration[key] = .string(tokens[id]) }
        }
        if let unknown { configuration["unk_token"] = .string(tokens[unknown]) }
        if let template = templates["default"], templates.count == 1 {
            configuration["chat_template"] = .string(template)
        } else if !templates.isEmpty {
            let list = templates.sorted { $0.key < $1.key }.map { name, text -> JSON in ["name": .string(name), "template": .string(text)] }
            configuration["chat_template"] = .array(list)
        }
        return .object(configuration)
    }
}
