import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A GGUF's metadata as the `config.json` that the family's table makes of it.
struct GGUFConfiguration {
    let json: JSON
    /// What divides the rotary frequencies, where no key expresses the file's tensor.
    private(set) var ropeFactors: [Float]?
    private(set) var warnings: [String] = []

    private let file: GGUFFile
    private let format: GGUFFormat

    /// - Throws: exit 2 naming the metadata key that is missing or has a value that is not supported.
    init(_ file: GGUFFile, _ family: any ModelFamily.Type, _ format: GGUFFormat) throws {
        self.file = file
        self.format = format
        guard file.metadata["general.type"]?.string != "adapter" else {
            throw LorikeetError.input(
                "this GGUF holds a LoRA adapter and no model", at: file.path,
                fix: "name its base as the model, and the adapter's PEFT folder with --adapter; llama.cpp takes this file with --lora")
        }
        let huggingFace = family.huggingFace
        var json: JSON = ["architectures": [.string(huggingFace.architecture)], "model_type": .string(huggingFace.modelType)]
        for rule in format.metadata { try Self.read(rule, file, format, &json) }
        if json["rope_scaling"]?["rope_type"]?.string == "none" { json.set("rope_scaling", nil) }
        for (key, name) in Self.tokens where file.metadata["tokenizer.ggml.\(name)"]?.int != nil {
            json.set(key, file.metadata["tokenizer.ggml.\(name)"]?.int.map { JSON($0) })
        }
        if let name = format.ropeFactors, let view = file.tensors[name] {
            let factors = try RoPEFactors(view, json)
            if json["rope_scaling"] == nil, let scaling = factors.scaling(json) { json.set("rope_scaling", scaling) } else { ropeFactors = factors.values }
        }
        if let names = format.longRoPE { try Self.readLongRoPE(names, file, format, &json) }
        self.json = json
        var unknown = leftOver()
        // No converter writes it for these architectures; with a window it would be another model.
        let window = "\(format.architecture).attention.sliding_window"
        if let place = unknown.firstIndex(of: window) {
            guard file.metadata[window]?.int == 0 else {
                throw LorikeetError.input(
                    "the metadata '\(window)' asks for sliding-window attention, which is not supported for a GGUF of this architecture", at: file.path,
                    fix: "use the model's Hugging Face directory, whose config.json says sliding_window")
            }
            unknown.remove(at: place)
        }
        if !unknown.isEmpty {
            warnings.append("\(file.path): metadata not known for this architecture and not used: \(unknown.map { "'\($0)'" }.joined(separator: ", "))")
        }
    }

    /// Ids of special tokens: `config.json`'s key and the name behind `tokenizer.ggml.`.
    private static let tokens = [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"), ("pad_token_id", "padding_token_id")]

    private static func read(_ rule: MetadataRule, _ file: GGUFFile, _ format: GGUFFormat, _ json: inout JSON) throws {
        func found(_ metadata: String) -> (key: String, value: GGUFValue?) {
            let key = "\(format.architecture).\(metadata)"
            return (key, file.metadata[key])
        }
        switch rule {
        case .value(let key, let metadata, let type, let standard):
            let (name, value) = found(metadata)
            if let value {
                guard let converted = type.json(value) else {
                    throw LorikeetError.input("the metadata '\(name)' is not \(type.words)", at: file.path, fix: "use a GGUF that llama.cpp reads")
                }
                json.set(key, converted)
            } else if let converted = try standard.json(json, name, file.path) {
                json.set(key, converted)
            }
        case .constant(let key, let value): json.set(key, value)
        case .derived(let key, let standard):
            if let value = try standard.json(json, key, file.path) { json.set(key, value) }
        case .rows(let key, let tensor, let metadata):
            guard let rows = file.tensors[tensor]?.shape.first ?? found(metadata).value?.int else {
                throw LorikeetError.input("the model lacks the tensor '\(tensor)'", at: file.path, fix: "download the model again")
            }
            json.set(key, JSON(rows))
        case .tensor(let key, let tensor, let present): json.set(key, .bool((file.tensors[tensor] != nil) == present))
        case .repeats(let key, let metadata, _):
            let (name, value) = found(metadata)
            if let value, json.at(key)?.double != value.double {
                throw LorikeetError.input(
                    "the metadata '\(name)' has to repeat \(key) (\(json.at(key)?.serialized() ?? "nothing")) and differs from it", at: file.path,
                    fix: "use a GGUF that llama.cpp reads")
            }
        case .rotatedDimensions(let metadata):
            let (name, value) = found(metadata)
            guard let value else { return }
            guard let rotated = value.int, let size = json["head_dim"]?.int, rotated >= 2, rotated <= size, rotated % 2 == 0 else {
                throw LorikeetError.input(
                    "the metadata '\(name)' has to be an even number of at most a head's dimensions (\(json["head_dim"]?.int ?? 0))", at: file.path,
                    fix: "use a GGUF that llama.cpp reads")
            }
            if rotated != size { json.set("partial_rotary_factor", .number(Double(rotated) / Double(size))) }
        case .window(let metadata):
            let (name, value) = found(metadata)
            guard let size = value == nil ? 0 : value?.int else {
                throw LorikeetError.input("the metadata '\(name)' is not a whole number", at: file.path, fix: "use a GGUF that llama.cpp reads")
            }
            json.set("sliding_window", size == 0 ? .null : JSON(size))
        case .zeroEvery(let key, let number):
            guard let layers = json["num_hidden_layers"]?.int, ConfigurationRange.layers.contains(layers) else { return }
            json.set(key, .array((0..<layers).map { ($0 + 1) % number == 0 ? 0 : 1 }))
        case .windows(let metadata, let pattern, let every):
            try readWindows(found(metadata), pattern: found(pattern), every: every, file, &json)
        case .only(let metadata, let allowed):
            let (name, value) = found(metadata)
            let same = allowed.bool.map { $0 == value?.bool } ?? (allowed.double == value?.double)
            if value != nil && !same {
                throw LorikeetError.input(
                    "the metadata '\(name)' is not \(allowed.serialized()), which is all that is supported", at: file.path, fix: "use another model")
            }
        }
    }

    private static func readWindows(
        _ window: (key: String, value: GGUFValue?), pattern: (key: String, value: GGUFValue?), every: Int, _ file: GGUFFile, _ json: inout JSON
    ) throws {
        let layers = json["num_hidden_layers"]?.int ?? 0
        guard ConfigurationRange.layers.contains(layers) else { return }
        guard let size = window.value?.int, size > 0 else {
            guard window.value == nil || window.value?.int == 0 else {
                throw LorikeetError.input("the metadata '\(window.key)' is not a whole number", at: file.path, fix: "use a GGUF that llama.cpp reads")
            }
            json.set("sliding_window", .null)
            json.set("layer_types", JSON(LayerTypes.names(layers) { _ in false }))
            return
        }
        json.set("sliding_window", JSON(size))
        if case .boolArray(let slides)? = pattern.value {
            json.set("layer_types", JSON(LayerTypes.names(slides.count) { slides[$0] }))
        } else if let number = pattern.value == nil ? every : pattern.value?.int, ConfigurationRange.layers.contains(number) {
            json.set("layer_types", JSON(LayerTypes.names(layers) { ($0 + 1) % number != 0 }))
        } else {
            throw LorikeetError.input(
                "the metadata '\(pattern.key)' is neither a list of true and false nor a number of layers", at: file.path,
                fix: "use a GGUF that llama.cpp reads")
        }
    }

    /// LongRoPE's factors from their tensors as `rope_scaling`.
    private static func readLongRoPE(_ names: LongRoPETensors, _ file: GGUFFile, _ format: GGUFFormat, _ json: inout JSON) throws {
        let (short, long) = (file.tensors[names.short], file.tensors[names.long])
        guard let short, let long else {
            if let one = short ?? long {
                throw LorikeetError.input("the model has '\(one.name)' without its other list of factors", at: file.path, fix: "download the model again")
            }
            return
        }
        func list(_ view: TensorView) throws -> JSON { .array(try RoPEFactors(view, json).values.map { JSON(Double("\($0)") ?? Double($0)) }) }
        json.set("rope_scaling", ["rope_type": "longrope", "short_factor": try list(short), "long_factor": try list(long)])
        let factor = file.metadata["\(format.architecture).\(names.attentionFactor)"]?.double
        guard let factor, let original = json["original_max_position_embeddings"]?.int, let extended = json["max_position_embeddings"]?.int else { return }
        // What follows from the lengths is not said again.
        if abs(factor - LongRoPEScaling.attentionFactor(extended: extended, original: original)) > 1e-5 * factor {
            json.set("rope_scaling.attention_factor", .number(factor))
        }
    }

    /// Metadata keys of the architecture that no line of the table reads.
    private func leftOver() -> [String] {
        var known = Set(format.inertMetadata.map(\.name) + [format.longRoPE?.attentionFactor].compactMap { $0 })
        for rule in format.metadata {
            switch rule {
            case .value(_, let name, _, _), .rows(_, _, let name), .repeats(_, let name, _): known.insert(name)
            case .rotatedDimensions(let name), .only(let name, _), .window(let name): known.insert(name)
            case .windows(let name, let pattern, _): known.formUnion([name, pattern])
            case .constant, .tensor, .derived, .zeroEvery: break
            }
        }
        let prefix = format.architecture + "."
        return file.metadata.keys.filter { $0.hasPrefix(prefix) && !known.contains(String($0.dropFirst(prefix.count))) }.sorted()
    }
}
