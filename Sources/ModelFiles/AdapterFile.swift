import LorikeetGround
import LorikeetJSON

/// A PEFT folder: `adapter_config.json` and `adapter_model.safetensors`.
package struct AdapterFile: Sendable {
    /// The folder.
    package let path: String
    package let configuration: AdapterConfiguration
    /// By the names that PEFT writes: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` [r, in], `….lora_B.weight` [out, r].
    /// Which of them a model has a place for is not known here. Names of a language model inside a model of several parts
    /// (`model.language_model.layers…`, `language_model.model.layers…`) are those of the language model alone.
    package let tensors: [String: TensorView]
    /// From a module's name in `tensors` to its name in the settings, where the two differ: in a language model inside a larger model.
    private let settingsNames: [String: String]

    /// - Throws: exit 2 where a file is missing, the configuration asks for what is not supported, a tensor stands twice, or a value is not
    ///   finite.
    package static func read(directory: String, files: any Files = RealFiles()) throws -> AdapterFile {
        let config = directory + "/adapter_config.json"
        guard files.exists(config) else {
            throw LorikeetError.input(
                files.exists(directory) ? "no adapter_config.json in it" : "no such adapter", at: directory,
                fix: "give a PEFT adapter folder, such as a run's adapter/"
            ).of(.unreadableFile)
        }
        let configuration = try AdapterConfiguration(json: JSON.parse(files.read(config), source: config), source: config)
        let weights = directory + "/adapter_model.safetensors"
        guard files.exists(weights) else { throw noWeights(directory, files) }
        let file = try SafetensorsFile(path: weights, files: files)
        var tensors: [String: TensorView] = [:]
        var owner: (name: String?, tensor: String)?
        var settingsNames: [String: String] = [:]
        for name in file.names {
            guard let view = file.tensors[name] else { continue }
            var (plain, adapter) = plainName(name)
            if let (own, module, wholeModule) = textName(plain) {
                plain = own
                settingsNames[module] = wholeModule
            }
            if plain.hasSuffix(".lora_A.weight") || plain.hasSuffix(".lora_B.weight") {
                if let owner, owner.name != adapter {
                    throw LorikeetError.input("'\(owner.tensor)' and '\(name)' are parts of two adapters", at: weights, fix: "save one adapter alone")
                }
                owner = (adapter, name)
            }
            guard tensors[plain] == nil else { throw LorikeetError.input("the tensor '\(plain)' stands twice", at: weights, fix: "save the adapter again") }
            if let element = view.firstNonFinite() {
                throw LorikeetError.input("the adapter's '\(name)' is not finite (NaN or infinity) at element \(element)", at: weights, fix: "train it again")
            }
            tensors[plain] = view.part(plain, rows: 0..<(view.shape.first ?? 0))
        }
        guard !tensors.isEmpty else { throw LorikeetError.input("the adapter holds no tensors", at: weights, fix: "save the adapter again") }
        return AdapterFile(path: directory, configuration: configuration, tensors: tensors, settingsNames: settingsNames)
    }

    /// A directory without `adapter_model.safetensors`, called what it is.
    private static func noWeights(_ directory: String, _ files: any Files) -> LorikeetError {
        if files.exists(directory + "/adapter_model.bin") {
            return .input(
                "the adapter's weights are a pickle (adapter_model.bin), which can run any code and is not read", at: directory,
                fix: "load it with PEFT and save it as safetensors: save_pretrained(…, safe_serialization=True)")
        }
        if files.exists(directory + "/adapters.safetensors") {
            return .input("the adapter is one of MLX (adapters.safetensors)", at: directory, fix: "convert it to a PEFT adapter, saved as safetensors")
        }
        return .input("no adapter_model.safetensors in it", at: directory, fix: "give a PEFT adapter folder with its weights")
    }

    /// The name by which the settings choose a module.
    package func settingsName(of module: String) -> String { settingsNames[module] ?? module }

    /// The name of a tensor of the language model inside a model of several parts, and its module's name alone and inside the whole.
    private static func textName(_ name: String) -> (name: String, module: String, whole: String)? {
        let prefix = "base_model.model."
        for inside in ["model.language_model.", "language_model.model."] where name.hasPrefix(prefix + inside) {
            let rest = name.dropFirst((prefix + inside).count)
            let module = rest.components(before: ".lora_")
            return (prefix + "model." + rest, "model." + module, inside + module)
        }
        return nil
    }

    /// A tensor's name without the adapter's own, which PEFT keeps behind the part it calls `lora_…` while an adapter is in memory:
    /// `….lora_A.default.weight`. Without such a name, `adapter` is nil.
    private static func plainName(_ name: String) -> (plain: String, adapter: String?) {
        var parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard let own = parts.lastIndex(where: { $0.hasPrefix("lora_") }), own + 3 == parts.count, ["weight", "bias"].contains(parts[own + 2]) else {
            return (name, nil)
        }
        let adapter = String(parts.remove(at: own + 1))
        return (parts.joined(separator: "."), adapter)
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

extension Substring {
    /// The text before `mark`, or all of it.
    fileprivate func components(before mark: String) -> Substring { firstRange(of: mark).map { self[..<$0.lowerBound] } ?? self }
}
