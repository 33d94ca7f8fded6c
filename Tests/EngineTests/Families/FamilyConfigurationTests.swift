import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// What each family makes of its `config.json`: defaults of its own class in transformers, values that cannot be, both forms of keys.
struct FamilyConfigurationTests {
    static let families = Families.table.map { $0.huggingFace.modelType }

    private func read(_ type: String, _ keys: JSONObject = [:]) throws -> ModelConfiguration {
        var json = keys
        json["model_type"] = .string(type)
        return try ModelConfiguration(json: .object(json), source: "config.json")
    }

    private func refusal(_ type: String, _ keys: JSONObject) -> String {
        let error = #expect(throws: LorikeetError.self, "\(type) \(keys)") { try read(type, keys) }
        #expect(error?.exit == .unusableInput)
        return error?.description ?? ""
    }

    /// Written by Tests/Reference/make_defaults.py.
    private static func defaults() throws -> JSON {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fixtures/defaults.json").path
        return try JSON.parse(RealFiles().read(path), source: path)
    }

    @Test(arguments: families) func `absent keys have the defaults of the family's class in transformers`(type: String) throws {
        let wanted = try #require(Self.defaults()[type]?.object)
        let values = try read(type).values
        let own = Families.table.first { $0.huggingFace.modelType == type }?.huggingFace.inertKeys ?? []
        // Noted under another key, or read by nobody.
        let others: Set<String> = [
            "rope_parameters", "_sliding_window_pattern", "no_rope_layer_interval", "resid_pdrop", "embd_pdrop", "use_bidirectional_attention",
        ]
        for entry in wanted.entries where !ConfigurationKeys.isInert(entry.key, own) && !others.contains(entry.key) && !entry.value.isNull {
            #expect(values[entry.key] == entry.value || values[entry.key]?.double == entry.value.double, "\(entry.key) \(entry.value)")
        }
        let rope = try #require(wanted["rope_parameters"])
        let (full, sliding) = (rope["full_attention"] ?? rope, rope["sliding_attention"])
        #expect(values["rope_theta"]?.double == full["rope_theta"]?.double)
        #expect(values["partial_rotary_factor"]?.double == full["partial_rotary_factor"]?.double ?? 1)
        if type == "gemma3_text" { #expect(values["rope_local_base_freq"]?.double == sliding?["rope_theta"]?.double) }
        for (key, noted) in [("factor", "factor"), ("llama_4_scaling_beta", "llama_4_scaling_beta"), ("mscale_all_dim", "mscale_all_dim")] {
            #expect(values["rope_scaling.\(noted)"]?.double == full[key]?.double, "\(key)")
        }
        // The class's own dictionary is a config.json, and says the same.
        let explicit = try ModelConfiguration(json: .object(wanted), source: "explicit")
        #expect(explicit.warnings.isEmpty, "\(explicit.warnings)")
        // Qwen's class has no window where `use_sliding_window` is false.
        for entry in values.entries where wanted[entry.key]?.isNull != true {
            #expect(explicit.values[entry.key]?.double == entry.value.double, "\(entry.key)")
        }
    }

    /// null is refused where the class does not allow it.
    @Test(arguments: families) func `null is never a default`(type: String) throws {
        let activation = type.hasPrefix("gemma2") || type.hasPrefix("gemma3") ? "hidden_activation" : "hidden_act"
        for key in [
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings", "rms_norm_eps",
            "tie_word_embeddings", activation,
        ] {
            let text = refusal(type, [key: .null])
            #expect(text.contains("'\(key)' is null"), "\(text)")
        }
        if type != "ministral3" { #expect(refusal(type, ["rope_theta": .null]).contains("'rope_theta' is null")) }
        if type.hasPrefix("gemma") || type == "glm4" || type == "qwen3" { #expect(refusal(type, ["head_dim": .null]).contains("'head_dim' is null")) }
    }

    @Test(arguments: families) func `text instead of a number is refused by its key`(type: String) throws {
        for (key, value) in [("hidden_size", JSON("64")), ("rms_norm_eps", "1e-6"), ("rope_theta", "500000"), ("num_hidden_layers", 2.5)] {
            if key == "rope_theta", type == "ministral3" { continue }
            #expect(refusal(type, [key: value]).contains("'\(key)'"))
        }
        #expect(refusal(type, ["rope_scaling": ["rope_type": "linear"]]).contains("rope_scaling.factor"))
        #expect(refusal(type, ["rope_scaling": ["rope_type": "yarn"]]).contains("rope_scaling."))
        #expect(refusal(type, ["rope_scaling": ["rope_type": "dynamic", "factor": 2]]).contains("dynamic"))
        #expect(refusal(type, ["rope_parameters": "linear"]).contains("rope_parameters"))
    }

    @Test(arguments: ["llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "olmo2"])
    func `a null of today's form beside the older one leaves that`(type: String) throws {
        let scaling: JSON = ["rope_type": "linear", "factor": 4.0]
        let old = try read(type, ["rope_theta": 50_000.0, "rope_scaling": scaling, "rope_parameters": .null]).values
        let new = try read(type, ["rope_parameters": ["rope_type": "linear", "factor": 4.0, "rope_theta": 50_000.0]]).values
        #expect(old["rope_theta"]?.double == 50_000 && old["rope_scaling.factor"]?.double == 4 && old["rope_scaling.rope_type"] == "linear")
        for key in ["rope_theta", "rope_scaling.factor", "rope_scaling.rope_type"] { #expect(new[key] == old[key], "\(key)") }
        #expect(refusal(type, ["rope_parameters": ["rope_type": "default", "rope_theta": .null]]).contains("rope_parameters.rope_theta"))
    }

    @Test func `the table of each type of layer is that of the older keys`() throws {
        for (type, theta, local) in [("gemma3_text", 500_000.0, 20_000.0), ("olmo3", 500_000, 500_000)] {
            var older: JSONObject = ["rope_theta": .number(theta), "rope_scaling": ["rope_type": "linear", "factor": 8.0], "num_hidden_layers": 6]
            if type == "gemma3_text" { older["rope_local_base_freq"] = .number(local) }
            let today: JSONObject = [
                "rope_parameters": [
                    "full_attention": ["rope_type": "linear", "factor": 8.0, "rope_theta": .number(theta)],
                    "sliding_attention": ["rope_type": "default", "rope_theta": .number(local)],
                ], "num_hidden_layers": 6,
            ]
            let tables = try [older, today].map { keys -> [RoPETable] in
                let family = try read(type, keys).family
                if let gemma = family as? Gemma3 { return [gemma.rope, gemma.windowRoPE] }
                return try [#require(family as? OLMo3).rope, #require(family as? OLMo3).windowRoPE]
            }
            #expect(tables[0] == tables[1])
            #expect(tables[0][0].inverseFrequencies[0] == 1.0 / 8 && tables[0][1].inverseFrequencies[0] == 1, "scaled in layers without a window alone")
            // One table for all layers says nothing of either kind.
            #expect(refusal(type, ["rope_parameters": ["rope_type": "linear", "factor": 8.0]]).contains("rope_parameters."))
        }
        #expect(refusal("llama", ["rope_parameters": ["full_attention": ["rope_type": "default"]]]).contains("rope_parameters.full_attention"))
    }

    @Test func `layers with a window follow from each family's keys`() throws {
        func windows(_ type: String, _ keys: JSONObject) throws -> [Bool] {
            let types = try read(type, keys).values["layer_types"]?.array
            return try #require(types).map { $0 == "sliding_attention" }
        }
        let four: JSONObject = ["num_hidden_layers": 4]
        func with(_ keys: JSONObject) -> JSONObject { JSONObject(four.entries + keys.entries) }
        #expect(try windows("gemma3_text", with(["sliding_window_pattern": 2])) == [true, false, true, false])
        #expect(try windows("gemma3_text", with([:])) == [true, true, true, true])
        #expect(try windows("gemma2", with([:])) == [true, false, true, false])
        #expect(try windows("olmo3", with([:])) == [true, true, true, false])
        #expect(try windows("qwen2", with(["max_window_layers": 2])) == [false, false, false, false])
        #expect(try windows("qwen2", with(["max_window_layers": 2, "use_sliding_window": true])) == [false, false, true, true])
        #expect(try windows("qwen3", with(["use_sliding_window": true, "max_window_layers": 3, "sliding_window": 7])) == [false, false, false, true])
        #expect(try windows("smollm3", with(["use_sliding_window": true, "sliding_window": 7])) == [false, false, false, true])
        let explicit: JSON = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
        #expect(try windows("gemma3_text", with(["layer_types": explicit, "sliding_window_pattern": 2])) == [false, false, true, false])
        #expect(try #require(read("mistral", ["sliding_window": 9]).family as? Mistral).attention.window == 9)
        #expect(try #require(read("mistral", ["sliding_window": .null]).family as? Mistral).attention.window == nil)
        #expect(try #require(read("smollm3", with(["no_rope_layer_interval": 2])).family as? SmolLM3).rotates == [true, false, true, false])
        #expect(try #require(read("smollm3", with(["no_rope_layers": [1, 0, 0, 1]])).family as? SmolLM3).rotates == [true, false, false, true])
        #expect(refusal("smollm3", with(["no_rope_layers": [1, 0]])).contains("no_rope_layers"))
    }

    @Test func `longrope's numbers are read in both places and held to each other`() throws {
        func keys(_ scaling: JSONObject, _ more: JSONObject = [:]) -> JSONObject {
            JSONObject([("hidden_size", 32), ("num_attention_heads", 4), ("max_position_embeddings", 128), ("rope_scaling", .object(scaling))] + more.entries)
        }
        let factors: JSONObject = ["short_factor": [1, 1, 1, 1], "long_factor": [2, 3, 4, 5]]
        func scaling(_ keys: JSONObject) -> JSONObject { JSONObject(factors.entries + keys.entries) }
        for name in ["longrope", "su", "yarn"] {
            let beside = try read("phi3", keys(scaling(["type": .string(name)]), ["original_max_position_embeddings": 16])).values
            #expect(beside["rope_scaling.rope_type"] == "longrope" && beside["rope_scaling.original_max_position_embeddings"] == 16)
        }
        // transformers keeps the older name beside today's.
        _ = try read("phi3", ["hidden_size": 32, "num_attention_heads": 4, "rope_parameters": .object(scaling(["type": "su", "rope_type": "longrope"]))])
        let table = try #require(read("phi3", keys(scaling(["type": "longrope"]), ["original_max_position_embeddings": 16])).family as? Phi3).rope
        #expect(table.long?.originalPositions == 16 && abs(table.attentionScale - 1.3228757) < 1e-6)
        #expect(refusal("phi3", keys(["type": "longrope", "short_factor": [1, 1, 1, 1]])).contains("long_factor' is missing"))
        #expect(refusal("phi3", keys(["type": "longrope", "short_factor": [1, 1], "long_factor": [1, 1, 1, 1]])).contains("short_factor' has 2"))
        #expect(refusal("phi3", keys(scaling(["type": "longrope", "attention_factor": "1"]))).contains("attention_factor"))
        #expect(
            refusal("phi3", keys(scaling(["type": "longrope", "original_max_position_embeddings": 32]), ["original_max_position_embeddings": 16]))
                .contains("original_max_position_embeddings"))
    }

    @Test func `a key of biases that a family does not have is refused, one that says what is so passes`() throws {
        for type in ["mistral", "ministral3"] {
            #expect(refusal(type, ["attention_bias": true]).contains("attention_bias"))
            #expect(try read(type, ["attention_bias": false, "mlp_bias": false]).warnings.isEmpty)
        }
        #expect(try read("qwen2").family.linears().filter { $0.hasBias }.map(\.shortName).prefix(4) == ["q_proj", "k_proj", "v_proj", "q_proj"])
        #expect(try read("glm4", ["attention_bias": false]).family.linears().allSatisfy { !$0.hasBias })
    }

    @Test(arguments: ["mixtral", "qwen3_moe", "qwen2_moe", "olmoe", "granitemoe", "phimoe", "glm4_moe", "deepseek_v3", "gpt_oss", "llama4", "bert"])
    func `mixtures of experts and other types are refused by name, with what is supported`(type: String) {
        let text = refusal(type, [:])
        #expect(text.contains("'\(type)'") && text.contains("llama, mistral") && text.contains("gemma3, mistral3"), "\(text)")
    }
}
