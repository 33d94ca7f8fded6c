import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetModelFiles

/// PEFT folders of other programs: read as what they are, or refused by name.
struct AdapterTests {
    private let files = RealFiles()

    /// A folder with A and B of one module.
    private func folder(_ keys: [(String, JSON?)] = [], names: [String]? = nil, bin: Bool = false) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-adapter-" + UUID().uuidString).path
        try files.createDirectory(path)
        var json: JSONObject = ["peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"]
        for (key, value) in keys { json[key] = value }
        try files.writeDurably(JSON.object(json).serialized(), to: path + "/adapter_config.json")
        if bin {
            try files.writeDurably("pickle", to: path + "/adapter_model.bin")
            return path
        }
        let module = "base_model.model.model.layers.0.self_attn.q_proj"
        let writer = try SafetensorsWriter(
            path: path + "/adapter_model.safetensors", tensors: (names ?? ["\(module).lora_A.weight", "\(module).lora_B.weight"]).map { ($0, .f32, [2, 2]) })
        for _ in names ?? ["", ""] { try [Float](repeating: 0.5, count: 4).withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
        return path
    }

    private func refusal(_ path: String) -> String {
        let error = #expect(throws: LorikeetError.self) { try AdapterFile.read(directory: path) }
        #expect(error?.exit == .unusableInput)
        return error?.description ?? ""
    }

    @Test func `absent numbers have PEFT's defaults`() throws {
        let adapter = try AdapterFile.read(directory: folder([("r", nil), ("lora_alpha", nil), ("lora_dropout", .null)]))
        #expect(adapter.configuration.r == 8 && adapter.configuration.alpha == 8 && adapter.configuration.dropout == 0)
    }

    @Test(
        arguments: [
            ("r", JSON(0)), ("r", 5000), ("r", 2.5), ("r", "2"), ("lora_alpha", .number(1e39)), ("lora_alpha", "8"), ("lora_dropout", 1.5),
            ("lora_dropout", -0.1),
        ] as [(String, JSON)])
    func `a number out of range is refused by its key`(key: String, value: JSON) throws {
        #expect(refusal(try folder([(key, value)])).contains("'\(key)'"))
    }

    @Test(
        arguments: [
            ("modules_to_save", ["lm_head"]), ("bias", "all"), ("bias", "lora_only"), ("trainable_token_indices", [1, 2]), ("init_lora_weights", "pissa"),
            ("init_lora_weights", "pissa_niter_16"), ("init_lora_weights", "olora"), ("init_lora_weights", "loftq"), ("alora_invocation_tokens", [1]),
            ("use_dora", true), ("lora_bias", true), ("fan_in_fan_out", true), ("layer_replication", [[0, 1]]), ("target_parameters", ["x"]),
            ("init_lora_weights", "corda"), ("init_lora_weights", "lora_ga"), ("init_lora_weights", "something_new"), ("init_lora_weights", 3),
            ("corda_config", ["verbose": true]), ("loftq_config", ["loftq_bits": 4]), ("use_qalora", true), ("megatron_config", ["a": 1]),
            ("kasa_config", ["beta": 1]), ("velora_config", ["num_groups": 1]), ("monteclora_config", ["a": 1]), ("use_bdlora", ["nblocks": 2]),
            ("arrow_config", ["top_k": 1]), ("task_type", "SEQ_CLS"), ("peft_type", "IA3"), ("peft_type", 1), ("ensure_weight_tying", true),
            ("enable_lora", [true]), ("merge_weights", true), ("use_rslora", "yes"), ("a_setting_of_tomorrow", true), ("use_dora", 1),
            ("target_modules", 3), ("target_modules", ["q_proj", 1]), ("target_modules", "(q_proj"), ("target_modules", #"(?<=a)q_proj"#),
            ("target_modules", #"(.)\1"#), ("exclude_modules", "*"), ("rank_pattern", ["q_proj": 0]), ("rank_pattern", ["q_proj": 2.5]),
            ("rank_pattern", ["[": 2]), ("rank_pattern", [4]), ("alpha_pattern", ["q_proj": "8"]), ("alpha_pattern", ["q_proj": .number(1e39)]),
            ("layers_to_transform", "0"), ("layers_to_transform", [-1]), ("layers_to_transform", [0.5]), ("layers_pattern", "layers"),
            ("base_model_name_or_path", 3),
        ] as [(String, JSON)])
    func `an adapter that is more than base and B A is refused by its key`(key: String, value: JSON) throws {
        #expect(refusal(try folder([(key, value)])).contains("'\(key)'"))
    }

    @Test func `an adapter's own name inside the tensors' names is dropped`() throws {
        let module = "base_model.model.model.layers.0.self_attn.q_proj"
        let adapter = try AdapterFile.read(directory: folder(names: ["\(module).lora_A.default.weight", "\(module).lora_B.default.weight"]))
        #expect(adapter.tensors.keys.sorted() == ["\(module).lora_A.weight", "\(module).lora_B.weight"])
        for other in ["lora_A.other.weight", "lora_B.other.weight", "lora_B.weight"] {
            #expect(refusal(try folder(names: ["\(module).lora_A.default.weight", "\(module).\(other)"])).contains("two adapters"), "\(other)")
        }
    }

    @Test(arguments: ["model.language_model", "language_model.model"]) func `a language model's modules inside a larger model have its own names`(
        inside: String
    ) throws {
        let module = "layers.0.self_attn.q_proj"
        let names = ["A", "B"].map { "base_model.model.\(inside).\(module).lora_\($0).weight" }
        let adapter = try AdapterFile.read(directory: folder([("target_modules", #".*language_model.*\.q_proj"#)], names: names))
        #expect(adapter.tensors.keys.sorted() == ["A", "B"].map { "base_model.model.model.\(module).lora_\($0).weight" })
        #expect(adapter.settingsName(of: "model.\(module)") == "\(inside).\(module)" && adapter.settingsName(of: "other") == "other")
        #expect(try adapter.configuration.wraps(adapter.settingsName(of: "model.\(module)")))
    }

    @Test func `all that PEFT writes of a plain adapter is accepted`() throws {
        let keys: [(String, JSON?)] = [
            ("alora_invocation_tokens", .null), ("alpha_pattern", [:]), ("arrow_config", .null), ("auto_mapping", ["base_model_class": "LlamaForCausalLM"]),
            ("base_model_name_or_path", "a/b"), ("corda_config", .null), ("ensure_weight_tying", false), ("eva_config", ["rho": 2]),
            ("exclude_modules", .null), ("fan_in_fan_out", false), ("inference_mode", true), ("init_lora_weights", "eva"), ("layer_replication", .null),
            ("layers_pattern", .null), ("layers_to_transform", .null), ("loftq_config", [:]), ("lora_bias", false), ("megatron_config", .null),
            ("megatron_core", "megatron.core"), ("modules_to_save", .null), ("peft_version", "0.21.2"), ("qalora_group_size", 16), ("rank_pattern", [:]),
            ("revision", "main"), ("target_parameters", .null), ("task_type", "CAUSAL_LM"), ("trainable_token_indices", .null), ("use_bdlora", .null),
            ("use_dora", false), ("use_qalora", false), ("use_rslora", true), ("enable_lora", .null), ("merge_weights", false),
        ]
        #expect(try AdapterFile.read(directory: folder(keys)).configuration.useRSLoRA)
        for start in [true, false, "gaussian", "orthogonal"] as [JSON] {
            _ = try AdapterFile.read(directory: folder([("init_lora_weights", start)]))
        }
    }

    @Test func `layers to transform need a list of target modules`() throws {
        for key in ["layers_to_transform", "layers_pattern"] {
            let text = refusal(try folder([("target_modules", #".*\.q_proj"#), (key, key == "layers_pattern" ? "layers" : [0])]))
            #expect(text.contains("'\(key)'"))
        }
    }

    @Test func `an adapter of MLX is called what it is`() throws {
        #expect(refusal(try folder([("peft_type", nil), ("lora_parameters", ["rank": 8])])).contains("MLX"))
        #expect(refusal(try folder([("peft_type", nil)])).contains("'peft_type'"))
    }

    @Test func `settings that were read are written as they were`() throws {
        let keys: [(String, JSON?)] = [
            ("target_modules", #".*\.(q|v)_proj"#), ("exclude_modules", ["model.layers.1.self_attn.q_proj"]), ("rank_pattern", ["v_proj": 4]),
            ("alpha_pattern", [#"layers\.\d+\.self_attn\.q_proj"#: 2.5]),
        ]
        let configuration = try AdapterFile.read(directory: folder(keys)).configuration
        for (key, value) in keys { #expect(configuration.json[key] == value) }
        let layers: [(String, JSON?)] = [("layers_to_transform", [0, 2]), ("layers_pattern", ["layers"]), ("target_modules", ["q_proj", "v_proj"])]
        let other = try AdapterFile.read(directory: folder(layers)).configuration
        for (key, value) in layers { #expect(other.json[key] == value) }
    }

    @Test func `other names stay as they are, for whoever knows what a model has a place for`() throws {
        let module = "base_model.model.model.layers.0.self_attn.q_proj"
        let names = ["lora_A.weight", "lora_B.bias", "lora_magnitude_vector", "modules_to_save.weight", "lora_A.a.b.weight", "weight"].map { "\(module).\($0)" }
        #expect(try AdapterFile.read(directory: folder(names: names)).tensors.keys.sorted() == names.sorted())
    }

    @Test func `pickled weights are called what they are`() throws {
        let text = refusal(try folder(bin: true))
        #expect(text.contains("pickle") && text.contains("safetensors"))
    }

    @Test(arguments: [JSON.null, false, [], [:], ""] as [JSON]) func `a setting of a newer PEFT that is switched off changes nothing`(value: JSON) throws {
        #expect(try AdapterFile.read(directory: folder([("a_setting_of_tomorrow", value)])).configuration.r == 2)
    }

    @Test(arguments: [true, 0, 1, "x", ["x"], ["a": .null]] as [JSON]) func `a setting of a newer PEFT with a value is refused by name`(value: JSON) throws {
        #expect(refusal(try folder([("a_setting_of_tomorrow", value)])).contains("'a_setting_of_tomorrow' is not known"))
    }

    @Test(
        arguments: [
            ([0xEF, 0xBB, 0xBF, 0x7B, 0x7D], "begins with a byte order mark"), ([0xFF, 0xFE, 0x7B, 0], "is UTF-16 or UTF-32"),
            ([0x7B, 0, 0x7D, 0], "is UTF-16"),
            ([], "the file is empty"), ([0, 0, 0, 0], "nothing but zero bytes"), (Array("[]".utf8), "not a JSON object"), (Array("{".utf8), "broken JSON"),
        ] as [([UInt8], String)])
    func `settings in another encoding are named by it`(bytes: [UInt8], sentence: String) throws {
        let path = try folder()
        try files.writeDurably(bytes, to: path + "/adapter_config.json")
        #expect(refusal(path).contains(sentence))
    }
}
