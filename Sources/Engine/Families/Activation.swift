import LorikeetGround

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
