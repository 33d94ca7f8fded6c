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

    /// Defaults are those of PEFT's `LoraConfig`.
    ///
    /// - Throws: exit 2 for other adapters than LoRA, and for LoRA variants that are not supported, by name; for numbers out of range.
    init(json: JSON, source: String) throws {
        guard json["peft_type"]?.string == "LORA" else {
            throw LorikeetError.input("not a LoRA adapter (peft_type \(json["peft_type"]?.string ?? "missing"))", at: source)
        }
        try Self.refuseVariants(json, source)
        func number(_ key: String, _ standard: Double, _ range: ClosedRange<Double>) throws -> Double {
            guard let value = json[key], !value.isNull else { return standard }
            guard let number = value.double, range.contains(number) else {
                throw LorikeetError.input(
                    "'\(key)' is \(value.serialized().prefix(40)); it has to be a number from \(range.lowerBound) to \(range.upperBound)", at: source)
            }
            return number
        }
        guard let r = Int(exactly: try number("r", 8, 1...4096)) else { throw LorikeetError.input("'r' is not a whole number", at: source) }
        self.r = r
        alpha = try number("lora_alpha", 8, -1e9...1e9)
        dropout = try number("lora_dropout", 0, 0...1)
        targetModules = json["target_modules"]?.array?.compactMap(\.string).sorted() ?? json["target_modules"]?.string.map { [$0] } ?? []
        if let value = json["use_rslora"], !value.isNull, value.bool == nil {
            throw LorikeetError.input("'use_rslora' is \(value.serialized().prefix(40)); it has to be true or false", at: source)
        }
        useRSLoRA = json["use_rslora"]?.bool ?? false
        baseModel = json["base_model_name_or_path"]?.string
    }

    /// - Throws: exit 2 where the adapter is something else than base + scale · B A.
    private static func refuseVariants(_ json: JSON, _ source: String) throws {
        func refuse(_ key: String, _ fix: String) -> LorikeetError {
            .input("'\(key)' \(json[key]?.serialized().prefix(60) ?? "") is not supported", at: source, fix: fix)
        }
        for key in ["use_dora", "lora_bias", "use_qalora", "fan_in_fan_out"] where json[key]?.bool == true {
            throw refuse(key, "use a plain LoRA adapter")
        }
        for key in ["rank_pattern", "alpha_pattern"] where json[key]?.object?.entries.isEmpty == false {
            throw refuse(key, "use one rank and alpha for all modules")
        }
        for key in [
            "modules_to_save", "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "layer_replication", "corda_config",
        ] {
            guard let value = json[key], !value.isNull, value.array?.isEmpty != true, value.object?.entries.isEmpty != true else { continue }
            throw refuse(key, "use an adapter of A and B alone")
        }
        if let bias = json["bias"], !bias.isNull, bias.string != "none" { throw refuse("bias", "use an adapter with bias \"none\"") }
        // These start from a changed base: base + B A is not what was trained.
        let start = json["init_lora_weights"]?.string ?? ""
        if ["pissa", "olora", "corda", "loftq", "lora_ga"].contains(where: { start.lowercased().hasPrefix($0) }) {
            throw refuse("init_lora_weights", "convert the adapter to plain LoRA with PEFT (path_initial_model_for_weight_conversion)")
        }
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
    /// The folder.
    package let path: String
    package let configuration: AdapterConfiguration
    /// By the names that PEFT writes: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` [r, in], `….lora_B.weight` [out, r].
    /// Which of them a model has a place for is not known here.
    package let tensors: [String: TensorView]

    /// - Throws: exit 2 where a file is missing, the configuration asks for what is not supported, a tensor stands twice, or a value is not
    ///   finite.
    package static func read(directory: String, files: any Files = RealFiles()) throws -> AdapterFile {
        let config = directory + "/adapter_config.json"
        guard files.exists(config) else {
            throw LorikeetError.input("no adapter_config.json in it", at: directory, fix: "give a PEFT adapter folder")
        }
        let configuration = try AdapterConfiguration(json: JSON.parse(files.read(config), source: config), source: config)
        let weights = directory + "/adapter_model.safetensors"
        if !files.exists(weights), files.exists(directory + "/adapter_model.bin") {
            throw LorikeetError.input(
                "the adapter's weights are pickled (adapter_model.bin), which is not read", at: directory, fix: "save the adapter as safetensors")
        }
        let file = try SafetensorsFile(path: weights, files: files)
        var tensors: [String: TensorView] = [:]
        for name in file.names {
            guard let view = file.tensors[name] else { continue }
            let plain = plainName(name)
            guard tensors[plain] == nil else {
                throw LorikeetError.input("'\(plain)' stands twice, as parts of two adapters", at: weights, fix: "save one adapter")
            }
            if let element = view.firstNonFinite() {
                throw LorikeetError.input("the adapter's '\(name)' is not finite (NaN or infinity) at element \(element)", at: weights, fix: "train it again")
            }
            tensors[plain] = view.part(plain, rows: 0..<(view.shape.first ?? 0))
        }
        guard !tensors.isEmpty else { throw LorikeetError.input("the adapter holds no tensors", at: weights, fix: "save the adapter again") }
        return AdapterFile(path: directory, configuration: configuration, tensors: tensors)
    }

    /// The name without the adapter's own, which PEFT keeps behind the part it calls `lora_…` while an adapter is in memory:
    /// `….lora_A.default.weight`.
    private static func plainName(_ name: String) -> String {
        var parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard let own = parts.lastIndex(where: { $0.hasPrefix("lora_") }), own + 3 == parts.count, parts[own + 2] == "weight" else { return name }
        parts.remove(at: own + 1)
        return parts.joined(separator: ".")
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
