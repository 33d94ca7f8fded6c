import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The tokenizer that goes with a merged model: the base directory's files, or, for a GGUF, `tokenizer.json` from its metadata.
struct MergedTokenizer {
    let source: ModelFiles
    let files: any Files

    private static let copied = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "merges.txt",
        "vocab.json", "tokenizer.model", "added_tokens.json",
    ]

    func write(to directory: String) throws {
        if let gguf = source.gguf {
            try write(gguf, to: directory)
            return
        }
        for name in Self.copied {
            if let path = source.fileIfPresent(name, files: files) { try files.writeDurably(files.read(path), to: directory + "/" + name) }
        }
    }

    /// What comes between text and byte-level BPE, by llama.cpp's name for it; nil for kinds that have no tokenizer.json here.
    private static func preTokenizer(_ kind: String) -> JSON? {
        func byteLevel(_ regex: Bool) -> JSON { ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(regex)] }
        func split(_ pattern: String) -> JSON {
            [
                "type": "Sequence",
                "pretokenizers": [["type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated", "invert": false], byteLevel(false)],
            ]
        }
        switch kind {
        case "gpt-2", "default": return byteLevel(true)
        // What the model was trained with here: digits alone ("Digits" would also split ½ and Ⅻ).
        case "smollm":
            return [
                "type": "Sequence",
                "pretokenizers": [["type": "Split", "pattern": ["Regex": "\\d"], "behavior": "Isolated", "invert": false], byteLevel(true)],
            ]
        case "llama-bpe":
            return split(#"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#)
        case "qwen2":
            return split(#"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#)
        default: return nil
        }
    }

    private func write(_ gguf: GGUFFile, to directory: String) throws {
        guard gguf.metadata["tokenizer.ggml.model"]?.string == "gpt2", let tokens = gguf.metadata["tokenizer.ggml.tokens"]?.strings,
            let merges = gguf.metadata["tokenizer.ggml.merges"]?.strings,
            let preTokenizer = Self.preTokenizer(gguf.metadata["tokenizer.ggml.pre"]?.string ?? "default")
        else { return }
        // llama.cpp's token types: 3 control, 4 user defined.
        let types = gguf.metadata["tokenizer.ggml.token_type"]?.ints ?? []
        let special = tokens.indices.filter { $0 < types.count && (types[$0] == 3 || types[$0] == 4) }
        let added = special.map { id -> JSON in
            [
                "id": JSON(id), "content": .string(tokens[id]), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": .bool(types[id] == 3),
            ]
        }
        let tokenizer: JSON = [
            "version": "1.0", "truncation": .null, "padding": .null, "added_tokens": .array(added), "normalizer": .null,
            "pre_tokenizer": preTokenizer, "post_processor": .null,
            "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            "model": [
                "type": "BPE", "dropout": .null, "unk_token": .null, "continuing_subword_prefix": .null, "end_of_word_suffix": .null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": .object(JSONObject(tokens.enumerated().map { ($1, JSON($0)) })), "merges": JSON(merges),
            ],
        ]
        try files.writeDurably(tokenizer.serialized(), to: directory + "/tokenizer.json")
        var configuration: JSONObject = ["tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false]
        for (key, name) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("unk_token", "unknown_token_id"), ("pad_token", "padding_token_id")]
        {
            if let id = gguf.metadata["tokenizer.ggml.\(name)"]?.int, tokens.indices.contains(id) { configuration[key] = .string(tokens[id]) }
        }
        if let template = gguf.metadata["tokenizer.chat_template"]?.string { configuration["chat_template"] = .string(template) }
        try files.writeDurably(JSON.object(configuration).serialized(pretty: true) + "\n", to: directory + "/tokenizer_config.json")
    }
}
