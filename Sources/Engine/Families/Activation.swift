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

    /// Gemma's configurations have two keys for the gate's function, of which transformers reads one: the other may repeat it.
    static func checkRepeated(_ reader: inout ConfigurationReader, _ key: String, _ activation: Activation, readFrom: String) throws {
        guard reader.has(key) else { return }
        let other = try read(&reader, key, default: "")
        reader.forget(key)
        // The first published files say "gelu" where the model uses its tanh approximation.
        guard other == activation || other == .gelu && activation == .geluTanh else {
            throw reader.refusal(key, "differs from '\(readFrom)'", "the same, or in one place alone")
        }
    }
}
