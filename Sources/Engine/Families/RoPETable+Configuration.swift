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
        let (frequencies, rope) = (Self.frequencies(theta: c.rope.theta, rotated: rotated), c.rope)
        switch rope.type {
        case "default": self.init(frequencies)
        case "linear": self = .linear(frequencies, factor: rope.factor)
        case "llama3":
            self = .llama3(
                frequencies, factor: rope.factor, lowFrequencyFactor: rope.lowFrequencyFactor, highFrequencyFactor: rope.highFrequencyFactor,
                originalPositions: rope.originalMaximumPositions)
        default:
            throw LorikeetError.input(
                "rotary positions of type '\(rope.type)' are not supported", at: "config.json: rope_type",
                mend: "supported are default, linear and llama3")
        }
    }
}
