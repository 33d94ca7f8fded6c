import LorikeetGround
import LorikeetJSON

/// Reads a GGUF's metadata and tensor names as Hugging Face would have written them.
enum GGUFModel {
    /// Architectures whose tensors llama.cpp stores with q and k rows permuted.
    private static let permuted: Set<String> = ["llama"]
    private static let classes = [
        "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "gemma2": "Gemma2ForCausalLM",
        "phi3": "Phi3ForCausalLM", "mistral": "MistralForCausalLM",
    ]

    /// A `config.json` made from the metadata.
    static func configuration(_ file: GGUFFile) throws -> ModelConfiguration {
        guard let architecture = file.metadata["general.architecture"]?.string else {
            throw LorikeetError.input("no 'general.architecture' in the metadata", at: file.path, mend: "use a GGUF of a language model")
        }
        func value(_ key: String) -> GGUFValue? { file.metadata["\(architecture).\(key)"] }
        let heads = value("attention.head_count")?.int ?? 0
        let hidden = value("embedding_length")?.int ?? 0
        let vocabulary = file.tensors["token_embd.weight"]?.shape.first ?? value("vocab_size")?.int ?? 0
        var json: JSONObject = [
            "architectures": [.string(classes[architecture] ?? architecture)], "model_type": .string(architecture), "hidden_act": "silu",
            "hidden_size": JSON(hidden), "intermediate_size": JSON(value("feed_forward_length")?.int ?? 0),
            "num_hidden_layers": JSON(value("block_count")?.int ?? 0), "num_attention_heads": JSON(heads),
            "num_key_value_heads": JSON(value("attention.head_count_kv")?.int ?? heads),
            "head_dim": JSON(value("attention.key_length")?.int ?? (heads > 0 ? hidden / heads : 0)),
            "max_position_embeddings": JSON(value("context_length")?.int ?? 2048),
            "rms_norm_eps": JSON(rounded(value("attention.layer_norm_rms_epsilon")?.double ?? 1e-5)), "vocab_size": JSON(vocabulary),
            "tie_word_embeddings": .bool(file.tensors["output.weight"] == nil),
            "attention_bias": .bool(file.tensors["blk.0.attn_q.bias"] != nil), "mlp_bias": .bool(file.tensors["blk.0.ffn_up.bias"] != nil),
            "rope_theta": JSON(value("rope.freq_base")?.double ?? 10_000),
        ]
        if let type = value("rope.scaling.type")?.string, type != "none" {
            json["rope_scaling"] = ["rope_type": .string(type), "factor": JSON(value("rope.scaling.factor")?.double ?? 1)]
        }
        for (key, name) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"), ("pad_token_id", "padding_token_id")] {
            if let id = file.metadata["tokenizer.ggml.\(name)"]?.int { json[key] = JSON(id) }
        }
        return try ModelConfiguration(json: .object(json), source: file.path)
    }

    /// Metadata floats are float32; 9.99999974e-06 was 1e-5.
    private static func rounded(_ value: Double) -> Double { Double("\(Float(value))") ?? value }

    /// The file's tensors by Hugging Face names, q and k in Hugging Face's row order.
    static func tensors(_ file: GGUFFile, _ configuration: ModelConfiguration) -> [String: TensorView] {
        let permutes = permuted.contains(configuration.modelType)
        var result: [String: TensorView] = [:]
        for (name, view) in file.tensors {
            guard let theirs = huggingFaceName(name) else { continue }
            var order: RowPermutation?
            if permutes && name.contains("attn_q.") { order = RowPermutation(heads: configuration.headCount) }
            if permutes && name.contains("attn_k.") { order = RowPermutation(heads: configuration.keyValueHeadCount) }
            // A permutation needs an even number of rows a head.
            if let heads = order?.heads, (view.shape.first ?? 0) % (2 * heads) != 0 { order = nil }
            result[theirs] = view.renamed(theirs, rowPermutation: order)
        }
        return result
    }

    private static let whole = ["token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"]
    private static let block = [
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "attn_qkv": "self_attn.qkv_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    ]

    private static func huggingFaceName(_ name: String) -> String? {
        let parts = name.split(separator: ".").map(String.init)
        if parts.count == 2, let theirs = whole[parts[0]] { return "\(theirs).\(parts[1])" }
        if parts.count == 4, parts[0] == "blk", Int(parts[1]) != nil, let theirs = block[parts[2]] {
            return "model.layers.\(parts[1]).\(theirs).\(parts[3])"
        }
        return nil
    }
}
