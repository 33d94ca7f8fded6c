import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// Keys of `config.json`: used, refused by name, or warned of.
struct ConfigurationTests {
    private func configuration(_ keys: JSONObject) throws -> ModelConfiguration {
        var json = FamilyFiles.sizes
        json["query_pre_attn_scalar"] = nil
        json["model_type"] = "llama"
        for entry in keys.entries { json[entry.key] = entry.value }
        return try ModelConfiguration(json: .object(json), source: "config.json")
    }

    @Test func `absent keys have the defaults of LlamaConfig`() throws {
        let values = try ModelConfiguration(json: ["model_type": "llama"], source: "c").values
        let wanted: JSONObject = [
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
            "head_dim": 128, "vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
            "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": false,
        ]
        for entry in wanted.entries { #expect(values[entry.key] == entry.value, "\(entry.key)") }
    }

    /// Each value is of the wrong type, or a number that would size memory or a loop beyond any model's, or give no finite result.
    @Test(
        arguments: [
            ("hidden_size", 0), ("hidden_size", -64), ("hidden_size", 268_435_456), ("hidden_size", 64.5), ("hidden_size", "64"),
            ("intermediate_size", 268_435_456), ("vocab_size", 268_435_456), ("num_hidden_layers", 5000), ("num_hidden_layers", 0),
            ("num_attention_heads", 100_000), ("num_attention_heads", 3), ("num_key_value_heads", 0), ("num_key_value_heads", 3),
            ("num_key_value_heads", 1_000_000), ("head_dim", 0), ("head_dim", 7), ("head_dim", 1_048_576), ("head_dim", -8),
            ("max_position_embeddings", 0), ("max_position_embeddings", .number(1e30)), ("rms_norm_eps", 0), ("rms_norm_eps", -1e-5),
            ("rms_norm_eps", "1e-5"), ("rms_norm_eps", .number(1e39)), ("rms_norm_eps", .number(1e-50)), ("rope_theta", "500000"), ("rope_theta", 0),
            ("rope_theta", .number(1e300)), ("partial_rotary_factor", 2), ("partial_rotary_factor", -1), ("partial_rotary_factor", 0),
            ("partial_rotary_factor", 0.1), ("partial_rotary_factor", "1"), ("hidden_act", "relu"), ("hidden_act", 1), ("attention_bias", "yes"),
            ("tie_word_embeddings", 1), ("rope_scaling", ["factor": 2.0]), ("rope_parameters", ["factor": 2.0, "rope_theta": 10000.0]),
            ("model_type", ["llama"]),
            ("model_type", 7), ("model_type", .null), ("rope_scaling", "linear"), ("rope_scaling", []), ("architectures", "LlamaForCausalLM"),
        ] as [(String, JSON)])
    func `a value that cannot be is refused by its key`(key: String, value: JSON) throws {
        let error = #expect(throws: LorikeetError.self) { try configuration([key: value]) }
        #expect(error?.exit == .unusableInput && error?.description.contains(key) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("config.json") == true)
    }

    @Test(
        arguments: [
            ("sliding_window", 8), ("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0), ("query_pre_attn_scalar", 32),
            ("num_local_experts", 8), ("embedding_multiplier", 12), ("residual_multiplier", 0.22), ("logits_scaling", 16), ("attention_multiplier", 0.01),
            ("rope_interleaved", true), ("use_sliding_window", true), ("layer_types", ["sliding_attention", "full_attention"]), ("clip_qkv", 8),
        ] as [(String, JSON)])
    func `a key of other families that changes the computation is refused`(key: String, value: JSON) throws {
        let error = #expect(throws: LorikeetError.self) { try configuration([key: value]) }
        #expect(error?.exit == .unusableInput && error?.description.contains(key) == true, "\(error?.description ?? "")")
    }

    @Test func `values that change nothing pass without a word`() throws {
        let quiet = try configuration([
            "sliding_window": .null, "attn_logit_softcapping": .null, "num_local_experts": 0, "rope_interleaved": false, "logits_scaling": 1,
            "layer_types": ["full_attention", "full_attention"], "pretraining_tp": 2, "use_cache": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.40.0", "eos_token_id": [1, 2], "quantization_config": .null, "rope_parameters": .null, "head_dim": .null,
            "num_key_value_heads": .null, "num_attention_heads": 3, "is_llama_config": true, "initializer_range": 0.02, "attention_dropout": 0.0,
        ])
        #expect(quiet.warnings.isEmpty, "\(quiet.warnings)")
        #expect(quiet.values["head_dim"] == 8 && quiet.values["num_key_value_heads"] == 3)
    }

    @Test func `unknown keys are warned of once, by name`() throws {
        let warnings = try configuration([
            "strange_key": 1, "another": "x", "rope_scaling": ["rope_type": "linear", "factor": 2, "strange_factor": 3], "attention_dropout": 0.1,
            "architectures": ["LlamaForSomethingElse"],
        ]).warnings
        #expect(warnings.count == 3)
        for name in ["'strange_key'", "'another'", "'rope_scaling.strange_factor'", "attention_dropout", "LlamaForSomethingElse"] {
            #expect(warnings.contains { $0.contains(name) }, "\(name)")
        }
    }

    // MARK: rotary positions

    private func frequencies(_ keys: JSONObject) throws -> [Float] {
        try #require(try configuration(keys).family as? Llama).rope.inverseFrequencies
    }

    @Test func `both forms of rotary positions give the same frequencies`() throws {
        let scaling: JSONObject = [
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3",
        ]
        var today = scaling
        today["rope_theta"] = 500_000.0
        let newer = try frequencies(["rope_parameters": .object(today), "rope_theta": .null])
        let older = try frequencies(["rope_theta": 500_000, "rope_scaling": .object(scaling)])
        #expect(newer == older)
        // Beside a null of today's form the older one counts.
        #expect(try frequencies(["rope_theta": 500_000, "rope_parameters": .null, "rope_scaling": .object(scaling)]) == older)
        #expect(try frequencies(["rope_theta": 500_000]) != older)
        // transformers' `_compute_llama3_parameters` in numpy's float32: one pair kept, one blended, one slowed.
        let wanted: [Float] = [1, 0.03760603070259094, 0.0005248460220173001, 6.647870577580761e-06]
        #expect(zip(older, wanted).allSatisfy { abs($0 - $1) <= 2e-6 * $1 }, "\(older)")
    }

    @Test func `linear scaling divides by its factor`() throws {
        let plain = try frequencies([:])
        #expect(try frequencies(["rope_scaling": ["type": "linear", "factor": 4]]) == plain.map { $0 / 4 })
        #expect(try frequencies(["rope_scaling": ["rope_type": "default"]]) == plain)
        #expect(try frequencies(["partial_rotary_factor": 0.5]).count == 2)
    }

    @Test(
        arguments: [
            (["rope_type": "linear"], "rope_scaling.factor"), (["rope_type": "linear", "factor": "2"], "rope_scaling.factor"),
            (["rope_type": "linear", "factor": 0], "rope_scaling.factor"), (["rope_type": "llama3", "factor": 8], "rope_scaling.low_freq_factor"),
            (
                ["rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8192],
                "rope_scaling.high_freq_factor"
            ),
            (["rope_type": "strange"], "rope_scaling.rope_type"), (["rope_type": "linear", "type": "llama3", "factor": 2], "rope_scaling.type"),
            (["rope_type": 3], "rope_scaling.rope_type"),
        ] as [(JSON, String)])
    func `scaling that lacks or misstates a number is refused by its key`(scaling: JSON, key: String) throws {
        let error = #expect(throws: LorikeetError.self) { try configuration(["rope_scaling": scaling]) }
        #expect(error?.exit == .unusableInput && error?.description.contains(key) == true, "\(error?.description ?? "")")
    }

    @Test func `two forms that differ are refused`() throws {
        let error = #expect(throws: LorikeetError.self) {
            try configuration(["rope_parameters": ["rope_type": "default"], "rope_scaling": ["rope_type": "linear", "factor": 2]])
        }
        #expect(error?.description.contains("rope_scaling.rope_type") == true, "\(error?.description ?? "")")
    }
}
