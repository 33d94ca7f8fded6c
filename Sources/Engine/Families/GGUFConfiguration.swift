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
        self.json = json
        let unknown = leftOver()
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
        case .repeats(let key, let metadata):
            let (name, value) = found(metadata)
            if let value, json.at(key)?.double != value.double {
                throw LorikeetError.input("the metadata '\(name)' differs from \(key) (\(json.at(key)?.serialized() ?? "nothing"))", at: file.path)
            }
        case .rotatedDimensions(let metadata):
            let (name, value) = found(metadata)
            guard let value else { return }
            guard let rotated = value.int, let size = json["head_dim"]?.int, size > 0, (2...size).contains(rotated), rotated % 2 == 0 else {
                throw LorikeetError.input(
                    "the metadata '\(name)' is no even number of a head's \(json["head_dim"]?.int ?? 0) dimensions", at: file.path)
            }
            if rotated != size { json.set("partial_rotary_factor", .number(Double(rotated) / Double(size))) }
        case .only(let metadata, let allowed):
            let (name, value) = found(metadata)
            let same = allowed.bool.map { $0 == value?.bool } ?? (allowed.double == value?.double)
            if value != nil && !same {
                throw LorikeetError.input(
                    "the metadata '\(name)' is not \(allowed.serialized()), which is all that is supported", at: file.path, fix: "use another model")
            }
        }
    }

    /// Metadata keys of the architecture that no line of the table reads.
    private func leftOver() -> [String] {
        var known = Set(format.inertMetadata.map(\.name))
        for rule in format.metadata {
            switch rule {
            case .value(_, let name, _, _), .rows(_, _, let name), .repeats(_, let name), .rotatedDimensions(let name), .only(let name, _): known.insert(name)
            case .constant, .tensor, .derived: break
            }
        }
        let prefix = format.architecture + "."
        return file.metadata.keys.filter { $0.hasPrefix(prefix) && !known.contains(String($0.dropFirst(prefix.count))) }.sorted()
    }
}

extension GGUFFormat {
    /// A model's metadata as a GGUF has it: the table the other way.
    ///
    /// What no line names is not written: a writer reads its file again and compares the values.
    ///
    /// - Parameter values: every key of the configuration with its value (`ModelConfiguration.values`).
    /// - Throws: exit 2 where the format cannot say a value.
    package func metadata(of values: JSONObject) throws -> [(key: String, value: GGUFValue)] {
        var result: [(key: String, value: GGUFValue)] = [("general.architecture", .string(architecture))]
        // Said by a tensor, see `ropeFactors(of:)`.
        let scalingIsTensor = values[Self.ropeType] == "llama3"
        if scalingIsTensor && ropeFactors == nil { throw unsaid(Self.ropeType, values[Self.ropeType]) }
        func add(_ name: String, _ value: GGUFValue?) { if let value { result.append(("\(architecture).\(name)", value)) } }
        for rule in metadata {
            switch rule {
            case .value(let key, _, _, _) where scalingIsTensor && key.hasPrefix("rope_scaling."): break
            case .value(let key, let name, let type, let standard):
                let value = values[key].flatMap(type.value)
                // Where a reader would put a default, "none" cannot be said.
                if case .omitted = standard {} else if value == nil { throw unsaid(key, values[key]) }
                add(name, value)
            case .constant(let key, let value):
                guard values[key].map({ $0 == value }) ?? true else { throw unsaid(key, values[key]) }
            case .derived(let key, let standard):
                guard let value = values[key], try standard.json(.object(values), key, key)?.double == value.double else { throw unsaid(key, values[key]) }
            case .rows(let key, _, let name): add(name, values[key]?.int.map { .unsigned(UInt64(max(0, $0))) })
            case .repeats(let key, let name): add(name, values[key]?.int.map { .unsigned(UInt64(max(0, $0))) })
            case .rotatedDimensions(let name):
                let share = values["partial_rotary_factor"]?.double ?? 1
                add(name, values["head_dim"]?.int.map { .unsigned(UInt64(max(0, Double($0) * share))) })
            // Tensors say these, or readers need them not.
            case .tensor, .only: break
            }
        }
        return result
    }

    /// The values of the tensor `ropeFactors`, where a configuration's scaling is said by it: the other way of `RoPEFactors.scaling`.
    package func ropeFactors(of values: JSONObject) -> [Float]? {
        guard ropeFactors != nil, values[Self.ropeType] == "llama3" else { return nil }
        func number(_ key: String) -> Double { values[key]?.double ?? 0 }
        let scaling = Llama3Scaling(
            factor: number("rope_scaling.factor"), lowFrequencyFactor: number("rope_scaling.low_freq_factor"),
            highFrequencyFactor: number("rope_scaling.high_freq_factor"),
            originalPositions: values["rope_scaling.original_max_position_embeddings"]?.int ?? 0)
        let rotated = Int(number("head_dim") * number("partial_rotary_factor"))
        return RoPEFactors(scaling, theta: number("rope_theta"), rotated: rotated).values
    }

    private static let ropeType = "rope_scaling.rope_type"

    private func unsaid(_ key: String, _ value: JSON?) -> LorikeetError {
        .input("a GGUF of architecture '\(architecture)' cannot say \(key) \(value?.serialized() ?? "null")", at: key)
    }
}

extension MetadataType {
    fileprivate var words: String {
        switch self {
        case .whole: "a whole number"
        case .real: "a number"
        case .flag: "true or false"
        case .text: "a text"
        }
    }

    /// A metadata value as JSON; nil where it is of another type.
    fileprivate func json(_ value: GGUFValue) -> JSON? {
        switch self {
        case .whole: value.int.map { JSON($0) }
        case .real: value.double.map { JSON(Double("\(Float($0))") ?? $0) }
        case .flag: value.bool.map { JSON($0) }
        case .text: value.string.map { JSON($0) }
        }
    }

    fileprivate func value(_ json: JSON) -> GGUFValue? {
        switch self {
        case .whole: json.int.flatMap { $0 >= 0 ? .unsigned(UInt64($0)) : nil }
        case .real: json.double.map { .float(Double(Float($0))) }
        case .flag: json.bool.map { .bool($0) }
        case .text: json.string.map { .string($0) }
        }
    }
}

extension MetadataDefault {
    /// - Parameters:
    ///   - known: the keys that are known so far.
    ///   - name: the metadata key that is missing, and `path` where.
    fileprivate func json(_ known: JSON, _ name: String, _ path: String) throws -> JSON? {
        switch self {
        case .refused: throw LorikeetError.input("the metadata '\(name)' is missing", at: path, fix: "use a GGUF that llama.cpp reads")
        case .omitted: return nil
        case .value(let value): return value
        case .same(let key): return known.at(key)
        case .quotient(let key, let by):
            guard let a = known.at(key)?.int, let b = known.at(by)?.int, b > 0 else { return nil }
            return JSON(a / b)
        case .when(let key, let wanted, let first, let other):
            return try (known.at(key)?.int == wanted ? first : other).json(known, name, path)
        }
    }
}

extension JSON {
    /// The value at a key; keys inside an object are written with a dot.
    fileprivate func at(_ key: String) -> JSON? { key.split(separator: ".").reduce(Optional(self)) { $0?[String($1)] } }

    /// Sets an object's key (nil removes it); makes the objects on the way.
    fileprivate mutating func set(_ key: String, _ value: JSON?) {
        let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
        var object = self.object ?? [:]
        if parts.count == 2 {
            var inside: JSON = object[parts[0]] ?? .object([:])
            inside.set(parts[1], value)
            object[parts[0]] = inside
        } else {
            object[key] = value
        }
        self = .object(object)
    }
}
