import Glibc
import LorikeetGround
import LorikeetModelFiles

extension ModelConfiguration {
    /// The gate's function by `hidden_act`.
    func activation() throws -> Activation {
        switch hiddenActivation {
        case "silu", "swish": return .silu
        case "gelu_pytorch_tanh", "gelu_tanh", "gelu_new": return .geluTanh
        case "gelu": return .gelu
        default:
            throw LorikeetError.input(
                "the activation '\(hiddenActivation)' is not supported", at: "config.json: hidden_act",
                mend: "supported are silu, gelu and gelu_pytorch_tanh")
        }
    }
}

extension RoPETable {
    /// Inverse frequencies as transformers' `modeling_rope_utils` computes them for `rope_type` default, linear and llama3.
    ///
    /// - Throws: exit 2 for other types, by name.
    init(_ c: ModelConfiguration) throws {
        let rotated = Int((Double(c.headDimension) * c.rope.partialRotaryFactor).rounded(.down)) / 2 * 2
        var frequencies = (0..<rotated / 2).map { 1 / pow(c.rope.theta, Double(2 * $0) / Double(rotated)) }
        switch c.rope.type {
        case "default": break
        case "linear": frequencies = frequencies.map { $0 / c.rope.factor }
        case "llama3": frequencies = frequencies.map { Self.llama3($0, c.rope) }
        default:
            throw LorikeetError.input(
                "rotary positions of type '\(c.rope.type)' are not supported", at: "config.json: rope_type",
                mend: "supported are default, linear and llama3")
        }
        self.init(inverseFrequencies: frequencies.map { Float($0) })
    }

    /// Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
    private static func llama3(_ frequency: Double, _ rope: RoPEConfiguration) -> Double {
        let wavelength = 2 * Double.pi / frequency
        let original = Double(rope.originalMaximumPositions)
        if wavelength > original / rope.lowFrequencyFactor { return frequency / rope.factor }
        if wavelength < original / rope.highFrequencyFactor { return frequency }
        let smooth = (original / wavelength - rope.lowFrequencyFactor) / (rope.highFrequencyFactor - rope.lowFrequencyFactor)
        return (1 - smooth) * frequency / rope.factor + smooth * frequency
    }
}
