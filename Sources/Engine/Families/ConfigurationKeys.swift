import LorikeetJSON

/// A key, metadata key or tensor that is not used, and why that changes nothing. `{layer}` stands for a layer's number.
package struct Ignored: Sendable {
    package let name: String
    package let reason: String

    package init(_ name: String, _ reason: String) {
        self.name = name
        self.reason = reason
    }
}

/// What is known of `config.json`'s keys beyond those that families read.
enum ConfigurationKeys {
    static func isInert(_ key: String, _ own: [Ignored]) -> Bool { inert.contains { $0.name == key } || own.contains { $0.name == key } }

    /// Keys that change nothing in any family.
    static let inert: [Ignored] = [
        Ignored("transformers_version", "who wrote the file"),
        Ignored("_name_or_path", "where the file was loaded from"),
        Ignored("quantization_config", "the files are read by it, and refused where their form is not known"),
        Ignored("torch_dtype", "the tensors say their types"),
        Ignored("dtype", "the tensors say their types"),
        Ignored("use_cache", "whether generation keeps keys and values: speed alone"),
        Ignored("initializer_range", "the spread of new weights; these are trained"),
        Ignored("bos_token_id", "the tokenizer and generation_config.json say it"),
        Ignored("eos_token_id", "the tokenizer and generation_config.json say it"),
        Ignored("pad_token_id", "nothing is padded here"),
        Ignored("output_attentions", "what a call returns beside the logits"),
        Ignored("output_hidden_states", "what a call returns beside the logits"),
        Ignored("return_dict", "in which form a call returns"),
        Ignored("_attn_implementation", "which code computes attention, not what"),
        Ignored("_attn_implementation_autoset", "which code computes attention, not what"),
        Ignored("gradient_checkpointing", "memory against time in training, no value"),
        Ignored("is_encoder_decoder", "families here are decoders"),
        Ignored("torchscript", "an export of another program"),
        Ignored("transformers.js_config", "for a program in the browser"),
        Ignored("cache_implementation", "how generation keeps keys and values: speed alone"),
        Ignored("chunk_size_feed_forward", "in how many pieces a layer is computed; the same sums"),
        Ignored("id2label", "names of classes; a language model has none"),
        Ignored("label2id", "names of classes; a language model has none"),
        Ignored("problem_type", "of classification"),
        Ignored("task_specific_params", "of generation"),
        Ignored("tokenizer_class", "the tokenizer's own files say it"),
        Ignored("unsloth_version", "a mark of another program"),
        Ignored("unsloth_fixed", "a mark of another program"),
    ]

    /// A key that changes the computation of models that have it.
    struct Computing {
        let key: String
        /// Whether a value other than null is one that changes nothing.
        let isNeutral: @Sendable (JSON) -> Bool
    }

    /// Keys of other families: a family that knows one reads it; where it is left over, only a value that changes nothing passes.
    static let computing: [Computing] =
        absent.map { key in Computing(key: key) { $0.bool == false || $0.double == 0 || $0.array?.isEmpty == true } }
        + off.map { key in Computing(key: key) { $0.bool == false } }
        + factors.map { key in Computing(key: key) { $0.double == 1 } }
        + [
            Computing(key: "attention_multiplier") { _ in false },
            Computing(key: "layer_types") { types in types.array?.allSatisfy { $0 == "full_attention" } == true },
        ]

    /// 0, false or an empty list says that the model has none.
    private static let absent = [
        "sliding_window", "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "clip_qkv", "attention_chunk_size",
        "num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok", "no_rope_layers", "no_rope_layer_interval",
        "attn_temperature_tuning", "use_mem_rope", "logit_cap", "add_cross_attention",
    ]
    private static let off = [
        "rope_interleaved", "use_sliding_window", "use_qk_norm", "qk_layernorm", "use_bidirectional_attention", "alibi", "parallel_attn",
        "use_parallel_residual", "moe", "attention_bias", "mlp_bias", "use_mrope",
    ]
    /// 1 multiplies by nothing.
    private static let factors = ["embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale", "scale_emb"]
}
