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
            ("use_dora", true), ("lora_bias", true), ("fan_in_fan_out", true), ("rank_pattern", ["q_proj": 4]), ("alpha_pattern", ["q_proj": 4]),
            ("layer_replication", [[0, 1]]), ("target_parameters", ["x"]),
        ] as [(String, JSON)])
    func `an adapter that is more than base and B A is refused by its key`(key: String, value: JSON) throws {
        #expect(refusal(try folder([(key, value)])).contains("'\(key)'"))
    }

    @Test func `an adapter's own name inside the tensors' names is dropped`() throws {
        let module = "base_model.model.model.layers.0.self_attn.q_proj"
        let adapter = try AdapterFile.read(directory: folder(names: ["\(module).lora_A.default.weight", "\(module).lora_B.default.weight"]))
        #expect(adapter.tensors.keys.sorted() == ["\(module).lora_A.weight", "\(module).lora_B.weight"])
        #expect(refusal(try folder(names: ["\(module).lora_A.default.weight", "\(module).lora_A.other.weight"])).contains("stands twice"))
    }

    @Test func `other names stay as they are, for whoever knows what a model has a place for`() throws {
        let module = "base_model.model.model.layers.0.self_attn.q_proj"
        let names = ["lora_A.weight", "lora_B.bias", "lora_magnitude_vector", "modules_to_save.weight", "lora_A.a.b.weight", "weight"].map { "\(module).\($0)" }
        #expect(try AdapterFile.read(directory: folder(names: names)).tensors.keys.sorted() == names.sorted())
    }

    @Test func `pickled weights are called what they are`() throws { #expect(refusal(try folder(bin: true)).contains("pickled")) }
}
