import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

extension GGUFFormat {
    /// A model's metadata as a GGUF has it: the table the other way.
    ///
    /// What no line names is not written: a writer reads its file again and compares the values.
    ///
    /// - Parameter values: every key of the configuration with its value (`ModelConfiguration.values`).
    /// - Throws: exit 2 where the format cannot say a value.
    package func metadata(of values: JSONObject) throws -> [(key: String, value: GGUFValue)] {
        var result: [(key: String, value: GGUFValue)] = [("general.architecture", .string(architecture))]
        // Said by tensors, see `ropeTensors(of:)`.
        let scalingIsTensor = values[Self.ropeType] == "llama3" || values[Self.ropeType] == "longrope"
        if scalingIsTensor, ropeTensors(of: values).isEmpty { throw unsaid(Self.ropeType, values[Self.ropeType]) }
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
            case .repeats(let key, let name, let type): add(name, values[key].flatMap(type.value))
            case .window(let name): add(name, .unsigned(UInt64(max(0, values["sliding_window"]?.int ?? 0))))
            case .zeroEvery(let key, let number):
                let list = values[key]?.array ?? []
                guard list.indices.allSatisfy({ list[$0].int == (($0 + 1) % number == 0 ? 0 : 1) }) else { throw unsaid(key, values[key]) }
            case .rotatedDimensions(let name):
                let share = values["partial_rotary_factor"]?.double ?? 1
                add(name, values["head_dim"]?.int.map { .unsigned(UInt64(max(0, Double($0) * share))) })
            case .windows(let name, let pattern, let every):
                let types = values["layer_types"]?.array ?? []
                guard types.contains("sliding_attention") else { break }
                add(name, values["sliding_window"]?.int.map { .unsigned(UInt64(max(0, $0))) })
                let slides = types.map { $0 == "sliding_attention" }
                if slides.indices.contains(where: { slides[$0] != (($0 + 1) % every != 0) }) { add(pattern, .boolArray(slides)) }
            // Tensors say these, or readers need them not.
            case .tensor, .only: break
            }
        }
        if let longRoPE, values[Self.ropeType] == "longrope" {
            let lengths = (values["max_position_embeddings"]?.int ?? 1, values["original_max_position_embeddings"]?.int ?? 1)
            let scale = LongRoPEScaling.attentionFactor(extended: lengths.0, original: lengths.1)
            add(longRoPE.attentionFactor, .float(values["rope_scaling.attention_factor"]?.double ?? scale))
        }
        return result
    }

    /// The tensors of one number a rotated pair that say a configuration's scaling: the other way of `RoPEFactors.scaling` and LongRoPE.
    package func ropeTensors(of values: JSONObject) -> [(name: String, values: [Float])] {
        if let longRoPE, values[Self.ropeType] == "longrope" {
            return [(longRoPE.short, "short_factor"), (longRoPE.long, "long_factor")].map { name, key in
                (name, (values["rope_scaling.\(key)"]?.array ?? []).map { Float($0.double ?? 1) })
            }
        }
        guard let name = ropeFactors, values[Self.ropeType] == "llama3" else { return [] }
        func number(_ key: String) -> Double { values[key]?.double ?? 0 }
        let scaling = Llama3Scaling(
            factor: number("rope_scaling.factor"), lowFrequencyFactor: number("rope_scaling.low_freq_factor"),
            highFrequencyFactor: number("rope_scaling.high_freq_factor"),
            originalPositions: values["rope_scaling.original_max_position_embeddings"]?.int ?? 0)
        let rotated = Int(number("head_dim") * number("partial_rotary_factor"))
        return [(name, RoPEFactors(scaling, theta: number("rope_theta"), rotated: rotated).values)]
    }

    private static let ropeType = "rope_scaling.rope_type"

    private func unsaid(_ key: String, _ value: JSON?) -> LorikeetError {
        .input("a GGUF of architecture '\(architecture)' cannot express \(key) \(value?.serialized() ?? "null")", at: key, fix: "write a safetensors directory")
    }
}

extension MetadataType {
    var words: String {
        switch self {
        case .whole: "a whole number"
        case .real: "a number"
        case .flag: "true or false"
        case .text: "a text"
        }
    }

    /// A metadata value as JSON; nil where it is of another type.
    func json(_ value: GGUFValue) -> JSON? {
        switch self {
        case .whole: value.int.map { JSON($0) }
        case .real: value.double.map { JSON(Double("\(Float($0))") ?? $0) }
        case .flag: value.bool.map { JSON($0) }
        case .text: value.string.map { JSON($0) }
        }
    }

    func value(_ json: JSON) -> GGUFValue? {
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
    func json(_ known: JSON, _ name: String, _ path: String) throws -> JSON? {
        switch self {
        case .refused: throw LorikeetError.input("the metadata '\(name)' is missing", at: path, fix: "use a GGUF that llama.cpp reads")
        case .omitted: return nil
        case .value(let value): return value
        case .same(let key): return known.at(key)
        case .quotient(let key, let by):
            guard let a = known.at(key)?.int, let b = known.at(by)?.int, b > 0 else { return nil }
            return JSON(a / b)
        case .inverseSquareRoot(let key): return known.at(key)?.double.map { .number(1 / $0.squareRoot()) }
        case .when(let key, let wanted, let first, let other):
            return try (known.at(key)?.int == wanted ? first : other).json(known, name, path)
        }
    }
}

extension JSON {
    /// The value at a key; keys inside an object are written with a dot.
    func at(_ key: String) -> JSON? { key.split(separator: ".").reduce(Optional(self)) { $0?[String($1)] } }

    /// Sets an object's key (nil removes it); makes the objects on the way.
    mutating func set(_ key: String, _ value: JSON?) {
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
