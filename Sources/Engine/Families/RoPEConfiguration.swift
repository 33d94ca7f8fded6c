import LorikeetGround
import LorikeetJSON

/// Rotary positions as a configuration states them: today's form (`rope_parameters`) or the older one (`rope_theta`, `rope_scaling`).
struct RoPEConfiguration: Sendable, Equatable {
    enum Scaling: Sendable, Equatable {
        case none
        /// Every frequency divided by the factor.
        case linear(Double)
        case llama3(Llama3Scaling)
        /// Every frequency divided by its own factor, given as a tensor.
        case factors([Float])
    }

    let theta: Double
    let scaling: Scaling
    /// Dimensions of a head that rotate.
    let rotated: Int

    /// - Parameters:
    ///   - layerType: where a model has a table for each type of layer (`rope_parameters.sliding_attention`), the type.
    ///   - theta, partial: the family's defaults.
    /// - Throws: exit 2 naming the key, for other types of scaling and for values out of range.
    static func read(
        _ reader: inout ConfigurationReader, headDimension: Int, layerType: String? = nil, theta standard: Double = 10_000, partial: Double = 1
    ) throws -> RoPEConfiguration {
        let root = try root(&reader, layerType)
        let thetaKey = try reader.agreed(["\(root).rope_theta", "rope_theta"])
        let theta = try reader.number(thetaKey, default: standard, in: 1...1e15)
        let partialKey = try reader.agreed(["\(root).partial_rotary_factor", "partial_rotary_factor"])
        let share = try reader.number(partialKey, default: partial, in: 0...1)
        let size = Int(Double(headDimension) * share)
        guard size >= 2, size % 2 == 0 else {
            throw reader.refusal(
                partialKey, "makes \(size) of a head's \(headDimension) dimensions rotate", "a share that gives an even number, 2 at least")
        }
        let scaling = try scaling(&reader, root)
        reader.note("rope_theta", JSON(theta))
        reader.note("partial_rotary_factor", JSON(share))
        return RoPEConfiguration(theta: theta, scaling: scaling, rotated: size)
    }

    /// The object that holds the scaling.
    private static func root(_ reader: inout ConfigurationReader, _ layerType: String?) throws -> String {
        let today = layerType.map { "rope_parameters.\($0)" } ?? "rope_parameters"
        for key in [today, "rope_scaling"] {
            guard let value = reader.found(key), !value.isNull, value.object == nil else { continue }
            throw reader.refusal(key, "is \(value.serialized().prefix(60))", "an object or null")
        }
        guard reader.has(today) else { return "rope_scaling" }
        for key in reader.found("rope_scaling")?.object?.keys ?? [] {
            let names = ["\(today).\(key)", "rope_scaling.\(key)"]
            guard reader.has(names[0]) else { throw reader.refusal(names[1], "is not in '\(today)'", "in both, or in one of both alone") }
            _ = try reader.agreed(names)
        }
        return today
    }

    private static func scaling(_ reader: inout ConfigurationReader, _ root: String) throws -> Scaling {
        let names = try ["\(root).rope_type", "\(root).type"].compactMap { reader.has($0) ? try reader.text($0, default: "default") : nil }
        let type = names.first ?? "default"
        if let other = names.last, other != type {
            throw reader.refusal("\(root).type", "is \"\(other)\" and \(root).rope_type \"\(type)\"", "one of both")
        }
        let scaling: Scaling
        switch type {
        case "default": scaling = .none
        case "linear": scaling = .linear(try reader.requiredNumber("\(root).factor", in: 1...1e6))
        case "llama3": scaling = .llama3(try llama3(&reader, root))
        default:
            throw LorikeetError.input(
                "rotary positions of type '\(type)' are not supported", at: "\(reader.source): \(root).rope_type",
                fix: "supported are default, linear and llama3")
        }
        guard let factors = reader.ropeFactors() else {
            note(scaling, type, &reader)
            return scaling
        }
        guard scaling == .none else { throw reader.refusal("\(root).rope_type", "is \"\(type)\" beside factors given as a tensor", "default") }
        return .factors(factors)
    }

    private static func llama3(_ reader: inout ConfigurationReader, _ root: String) throws -> Llama3Scaling {
        let factor = try reader.requiredNumber("\(root).factor", in: 1...1e6)
        let low = try reader.requiredNumber("\(root).low_freq_factor", in: 1e-6...1e6)
        let high = try reader.requiredNumber("\(root).high_freq_factor", in: 1e-6...1e6)
        guard high > low else { throw reader.refusal("\(root).high_freq_factor", "is \(high)", "larger than low_freq_factor (\(low))") }
        let inside = "\(root).original_max_position_embeddings"
        let positions = try reader.requiredNumber(reader.agreed([inside, "original_max_position_embeddings"]), in: 1...1e9)
        guard let whole = Int(exactly: positions) else { throw reader.refusal(inside, "is \(positions)", "a whole number") }
        return Llama3Scaling(factor: factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions: whole)
    }

    /// What a writer needs, under the older form's names.
    private static func note(_ scaling: Scaling, _ type: String, _ reader: inout ConfigurationReader) {
        switch scaling {
        case .none, .factors: break
        case .linear(let factor):
            reader.note("rope_scaling.rope_type", .string(type))
            reader.note("rope_scaling.factor", .number(factor))
        case .llama3(let llama3):
            for entry in llama3.json.object?.entries ?? [] { reader.note("rope_scaling.\(entry.key)", entry.value) }
        }
    }
}

extension RoPETable {
    /// Inverse frequencies as transformers' `modeling_rope_utils` computes them.
    init(_ rope: RoPEConfiguration) {
        let frequencies = Self.frequencies(theta: rope.theta, rotated: rope.rotated)
        switch rope.scaling {
        case .none: self.init(frequencies)
        case .linear(let factor): self = .linear(frequencies, factor: factor)
        case .llama3(let scaling): self.init(frequencies.map(scaling.scaled))
        case .factors(let factors): self = .divided(frequencies, by: factors)
        }
    }
}

extension Activation {
    /// The gate's function by its name in `config.json`.
    ///
    /// - Parameters:
    ///   - key: `hidden_act`, or `hidden_activation` in Gemma's.
    ///   - standard: the family's default.
    static func read(_ reader: inout ConfigurationReader, _ key: String = "hidden_act", default standard: String) throws -> Activation {
        switch try reader.text(key, default: standard) {
        case "silu", "swish": return .silu
        case "gelu_pytorch_tanh", "gelu_tanh", "gelu_new": return .geluTanh
        case "gelu": return .gelu
        case let other:
            throw LorikeetError.input(
                "the activation '\(other)' is not supported", at: "\(reader.source): \(key)", fix: "supported are silu, gelu and gelu_pytorch_tanh")
        }
    }
}
