import LorikeetGround
import LorikeetJSON

/// Rotary positions as a configuration states them: today's form (`rope_parameters`) or the older one (`rope_theta`, `rope_scaling`).
struct RoPEConfiguration: Sendable, Equatable {
    enum Scaling: Sendable, Equatable {
        case none
        /// Every frequency divided by the factor.
        case linear(Double)
        case llama3(Llama3Scaling)
        case yarn(RoPETable.YaRN)
        case longRoPE(LongRoPEScaling)
        /// Every frequency divided by its own factor, given as a tensor.
        case factors([Float])
    }

    let theta: Double
    let scaling: Scaling
    /// Dimensions of a head that rotate.
    let rotated: Int

    /// What a family's configuration class says of its rotary positions.
    struct Family {
        /// The default of `rope_theta` and of `partial_rotary_factor`.
        var theta: Double
        var partial = 1.0
        /// The default of `original_max_position_embeddings`; nil: `max_position_embeddings`.
        var originalPositions: Int?
        /// What the files call LongRoPE: Phi-3's first ones call it `su` and `yarn`.
        var longRoPENames: Set<String> = ["longrope"]
        /// The key of the older form that holds the base.
        var thetaKey = "rope_theta"
        /// The key of the older form that holds the scaling; nil where these layers have none.
        var scalingKey: String? = "rope_scaling"
        /// Where `rope_parameters` has a table for each type of layer, the type.
        var layerType: String?
    }

    /// - Throws: exit 2 naming the key, for other types of scaling and for values out of range.
    static func read(_ reader: inout ConfigurationReader, _ sizes: DecoderSizes, _ family: Family) throws -> RoPEConfiguration {
        let root = try root(&reader, family)
        let thetaKey = try reader.agreed(["\(root).rope_theta", family.thetaKey])
        let theta = try reader.number(thetaKey, default: family.theta, in: 1...1e15)
        let partialKey = try reader.agreed(["\(root).partial_rotary_factor", "partial_rotary_factor"])
        let share = try reader.number(partialKey, default: family.partial, in: 0...1)
        let size = Int(Double(sizes.headDimension) * share)
        guard size >= 2, size % 2 == 0 else {
            throw reader.refusal(
                partialKey, "makes \(size) of a head's \(sizes.headDimension) dimensions rotate", "a share that gives an even number, 2 at least")
        }
        let scaling = try scaling(&reader, root, family, sizes, rotated: size)
        reader.note(family.thetaKey, JSON(theta))
        reader.note("partial_rotary_factor", JSON(share))
        let result = RoPEConfiguration(theta: theta, scaling: scaling, rotated: size)
        let table = RoPETable(result)
        // YaRN divides by the logarithm of the base.
        guard (table.inverseFrequencies + [table.attentionScale]).allSatisfy(\.isFinite) else {
            throw reader.refusal(thetaKey, "is \(theta), which gives no finite frequencies", "larger than 1")
        }
        return result
    }

    /// The object that holds the scaling.
    private static func root(_ reader: inout ConfigurationReader, _ family: Family) throws -> String {
        let today = family.layerType.map { "rope_parameters.\($0)" } ?? "rope_parameters"
        for key in ["rope_parameters", today, "rope_scaling"] {
            guard let value = reader.found(key), !value.isNull, value.object == nil else { continue }
            throw reader.refusal(key, "is \(value.serialized().prefix(60))", "an object or null")
        }
        for (key, value) in reader.found("rope_parameters")?.object?.entries ?? [] where (value.object != nil) != (family.layerType != nil) && !value.isNull {
            throw reader.refusal(
                "rope_parameters.\(key)", "is \(value.serialized().prefix(60))",
                family.layerType == nil ? "a number or text: all layers rotate alike" : "in the table of a type of layer (full_attention, sliding_attention)")
        }
        let older = family.scalingKey ?? today
        guard reader.has(today) else { return older }
        for key in family.scalingKey.flatMap({ reader.found($0)?.object?.keys }) ?? [] {
            let names = ["\(today).\(key)", "\(older).\(key)"]
            if key == "type" || key == "rope_type" {
                let types = try [today, older].map { try type(&reader, $0, family) }
                guard types[0] == types[1] else { throw reader.refusal(names[1], "differs from '\(today).rope_type'", "the same, or in one place alone") }
                continue
            }
            guard reader.has(names[0]) else { throw reader.refusal(names[1], "is not in '\(today)'", "in both, or in one of both alone") }
            _ = try reader.agreed(names)
        }
        return today
    }

    /// The scaling's type: `rope_type`, or `type` in older files.
    private static func type(_ reader: inout ConfigurationReader, _ root: String, _ family: Family) throws -> String {
        let names = try ["\(root).rope_type", "\(root).type"].compactMap { key -> String? in
            guard reader.found(key) != nil else { return nil }
            let name = try reader.text(key, default: "default")
            return family.longRoPENames.contains(name) ? "longrope" : name
        }
        // transformers has no default for the type of a scaling that has a factor.
        if names.isEmpty, let factor = reader.found("\(root).factor"), !factor.isNull {
            throw reader.refusal("\(root).rope_type", "is missing beside a factor", "linear, llama3, yarn or longrope")
        }
        let type = names.first ?? "default"
        if let other = names.last, other != type {
            throw reader.refusal("\(root).type", "is \"\(other)\" and \(root).rope_type \"\(type)\"", "one of both")
        }
        return type
    }

    private static func scaling(
        _ reader: inout ConfigurationReader, _ root: String, _ family: Family, _ sizes: DecoderSizes, rotated: Int
    ) throws -> Scaling {
        let type = try type(&reader, root, family)
        let numbers = ScalingNumbers(root: root, family: family, sizes: sizes, rotated: rotated)
        let scaling: Scaling
        switch type {
        case "default": scaling = .none
        case "linear": scaling = .linear(try reader.requiredNumber("\(root).factor", in: 1...1e6))
        case "llama3": scaling = .llama3(try numbers.llama3(&reader))
        case "yarn": scaling = .yarn(try numbers.yarn(&reader))
        case "longrope": scaling = .longRoPE(try numbers.longRoPE(&reader))
        default:
            throw LorikeetError.input(
                "rotary positions of type '\(type)' are not supported", at: "\(reader.source): \(root).rope_type",
                fix: "supported are default, linear, llama3, yarn and longrope")
        }
        guard let factors = reader.ropeFactors() else {
            if let key = family.scalingKey { note(scaling, key, &reader) }
            return scaling
        }
        guard scaling == .none else { throw reader.refusal("\(root).rope_type", "is \"\(type)\" beside factors given as a tensor", "default") }
        return .factors(factors)
    }

    /// What a writer needs, under the older form's names.
    private static func note(_ scaling: Scaling, _ key: String, _ reader: inout ConfigurationReader) {
        for entry in scaling.json.object?.entries ?? [] { reader.note("\(key).\(entry.key)", entry.value) }
    }
}

extension RoPEConfiguration.Scaling {
    /// The scaling as `rope_scaling` says it; an empty object where there is none.
    fileprivate var json: JSON {
        switch self {
        case .none, .factors: [:]
        case .linear(let factor): ["rope_type": "linear", "factor": .number(factor)]
        case .llama3(let scaling): scaling.json
        case .yarn(let scaling): scaling.json
        case .longRoPE(let scaling): scaling.json
        }
    }
}

/// Reads the numbers of a scaling from the object that holds them.
private struct ScalingNumbers {
    let root: String
    let family: RoPEConfiguration.Family
    let sizes: DecoderSizes
    let rotated: Int

    /// `original_max_position_embeddings` inside the object or beside it.
    private func originalPositions(_ reader: inout ConfigurationReader) throws -> Int {
        let key = try reader.agreed(["\(root).original_max_position_embeddings", "original_max_position_embeddings"])
        let standard = family.originalPositions ?? sizes.maximumPositions
        return try reader.size(key, default: standard, in: ConfigurationRange.positions)
    }

    /// `factor`, or the ratio of the context's lengths after and before the scaling.
    private func factor(_ reader: inout ConfigurationReader, original: Int, required: Bool) throws -> Double {
        let key = "\(root).factor"
        if required, reader.found(key) == nil { return try reader.requiredNumber(key, in: 1...1e6) }
        return try reader.optionalNumber(key, default: nil, in: 1...1e6) ?? Double(sizes.maximumPositions) / Double(original)
    }

    func llama3(_ reader: inout ConfigurationReader) throws -> Llama3Scaling {
        let factor = try reader.requiredNumber("\(root).factor", in: 1...1e6)
        let low = try reader.requiredNumber("\(root).low_freq_factor", in: 1e-6...1e6)
        let high = try reader.requiredNumber("\(root).high_freq_factor", in: 1e-6...1e6)
        guard high > low else { throw reader.refusal("\(root).high_freq_factor", "is \(high)", "larger than low_freq_factor (\(low))") }
        return Llama3Scaling(factor: factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions: try originalPositions(&reader))
    }

    func yarn(_ reader: inout ConfigurationReader) throws -> RoPETable.YaRN {
        let original = try originalPositions(&reader)
        var settings = RoPETable.YaRN(factor: try factor(&reader, original: original, required: true), originalPositions: original)
        settings.attentionFactor = try reader.optionalNumber("\(root).attention_factor", default: nil, in: 1e-6...1e6)
        settings.mscale = try reader.optionalNumber("\(root).mscale", default: nil, in: 0...1e6)
        settings.mscaleAllDimensions = try reader.optionalNumber("\(root).mscale_all_dim", default: nil, in: 0...1e6)
        // transformers reads 0 as none.
        func rotations(_ key: String, _ standard: Double) throws -> Double {
            let number = try reader.optionalNumber("\(root).\(key)", default: standard, in: 0...1e6) ?? standard
            return number == 0 ? standard : number
        }
        settings.betaFast = try rotations("beta_fast", 32)
        settings.betaSlow = try rotations("beta_slow", 1)
        guard settings.betaFast >= settings.betaSlow else {
            throw reader.refusal("\(root).beta_fast", "is \(settings.betaFast)", "at least beta_slow (\(settings.betaSlow))")
        }
        settings.truncates = try reader.flag("\(root).truncate", default: true)
        if settings.truncates { reader.forget("\(root).truncate") }
        // transformers looks for the key beside the tables of the types of layers, where none is.
        if family.layerType != nil, !settings.truncates {
            throw reader.refusal("\(root).truncate", "is false", "true where rope_parameters has a table for each type of layer")
        }
        return settings
    }

    func longRoPE(_ reader: inout ConfigurationReader) throws -> LongRoPEScaling {
        let original = try originalPositions(&reader)
        func factors(_ name: String) throws -> [Float] {
            let key = "\(root).\(name)"
            guard let factors = try reader.numbers(key, in: 1e-6...1e6) else {
                throw reader.refusal(key, reader.found(key) == nil ? "is missing" : "is null", "a list of \(rotated / 2) numbers")
            }
            guard factors.count == rotated / 2 else {
                throw reader.refusal(key, "has \(factors.count) numbers", "one for each of \(rotated / 2) rotated pairs")
            }
            return factors.map { Float($0) }
        }
        return LongRoPEScaling(
            short: try factors("short_factor"), long: try factors("long_factor"), factor: try factor(&reader, original: original, required: false),
            givenFactor: reader.found("\(root).factor")?.double, originalPositions: original,
            attentionFactor: try reader.optionalNumber("\(root).attention_factor", default: nil, in: 1e-6...1e6))
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
        case .yarn(let settings): self = .yarn(theta: rope.theta, rotated: rope.rotated, settings)
        case .longRoPE(let scaling):
            self = .longRoPE(
                theta: rope.theta, rotated: rope.rotated, short: scaling.short, long: scaling.long, factor: scaling.factor,
                originalPositions: scaling.originalPositions, attentionFactor: scaling.attentionFactor)
        case .factors(let factors): self = .divided(frequencies, by: factors)
        }
    }
}
