import LorikeetGround
import LorikeetJSON

/// `adapter_config.json` of PEFT.
package struct AdapterConfiguration: Sendable, Equatable {
    package var r: Int
    package var alpha: Double
    package var dropout: Double
    package var targetModules: [String]
    package var useRSLoRA: Bool
    package var baseModel: String?

    package init(r: Int, alpha: Double, dropout: Double, targetModules: [String], useRSLoRA: Bool = false, baseModel: String? = nil) {
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
        self.baseModel = baseModel
    }

    /// - Throws: exit 2 for other adapters than LoRA, and for LoRA variants that are not supported, by name.
    init(json: JSON, source: String) throws {
        guard json["peft_type"]?.string == "LORA" else {
            throw LorikeetError.input("not a LoRA adapter (peft_type \(json["peft_type"]?.string ?? "missing"))", at: source)
        }
        for key in ["use_dora", "lora_bias", "use_qalora"] where json[key]?.bool == true {
            throw LorikeetError.input("'\(key)' is not supported", at: source, mend: "use a plain LoRA adapter")
        }
        for key in ["rank_pattern", "alpha_pattern"] where json[key]?.object?.entries.isEmpty == false {
            throw LorikeetError.input("'\(key)' is not supported", at: source, mend: "use one rank and alpha for all modules")
        }
        guard let r = json["r"]?.int, r > 0, r <= 4096 else { throw LorikeetError.input("'r' is missing or out of range", at: source) }
        self.r = r
        alpha = json["lora_alpha"]?.double ?? Double(r)
        dropout = json["lora_dropout"]?.double ?? 0
        targetModules = json["target_modules"]?.array?.compactMap(\.string).sorted() ?? json["target_modules"]?.string.map { [$0] } ?? []
        useRSLoRA = json["use_rslora"]?.bool ?? false
        baseModel = json["base_model_name_or_path"]?.string
    }

    /// The keys PEFT reads; what it does not find it fills with its own defaults.
    package var json: JSON {
        [
            "base_model_name_or_path": baseModel.map { .string($0) } ?? .null, "bias": "none", "fan_in_fan_out": false, "inference_mode": true,
            "init_lora_weights": true, "lora_alpha": alpha == alpha.rounded() ? .integer(Int64(alpha)) : .number(alpha),
            "lora_dropout": .number(dropout), "modules_to_save": .null, "peft_type": "LORA", "r": JSON(r),
            "target_modules": targetModules == ["all-linear"] ? "all-linear" : JSON(targetModules), "task_type": "CAUSAL_LM",
            "use_dora": false, "use_rslora": .bool(useRSLoRA),
        ]
    }
}

/// A PEFT folder: `adapter_config.json` and `adapter_model.safetensors`.
package struct AdapterFile: Sendable {
    package let configuration: AdapterConfiguration
    /// By PEFT's names: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` [r, in], `….lora_B.weight` [out, r].
    package let tensors: [String: TensorView]

    package static func read(directory: String, files: any Files = RealFiles()) throws -> AdapterFile {
        let config = directory + "/adapter_config.json"
        guard files.exists(config) else {
            throw LorikeetError.input("no adapter_config.json in it", at: directory, mend: "give a PEFT adapter folder")
        }
        let configuration = try AdapterConfiguration(json: JSON.parse(files.read(config), source: config), source: config)
        return AdapterFile(configuration: configuration, tensors: try SafetensorsFile(path: directory + "/adapter_model.safetensors").tensors)
    }

    /// Writes the folder; each file whole or not at all, the configuration last.
    package static func write(
        directory: String, configuration: AdapterConfiguration,
        tensors: [(name: String, shape: [Int], values: UnsafeBufferPointer<Float>)], files: any Files
    ) throws {
        try files.createDirectory(directory)
        let writer = try SafetensorsWriter(
            path: directory + "/adapter_model.safetensors", files: files, tensors: tensors.map { ($0.name, .f32, $0.shape) },
            metadata: ["format": "pt"])
        for tensor in tensors { try writer.append(UnsafeRawBufferPointer(tensor.values)) }
        try writer.finish()
        try files.writeDurably(configuration.json.serialized(pretty: true) + "\n", to: directory + "/adapter_config.json")
    }
}
