import LorikeetGround
import LorikeetJSON

/// The largest sizes that a configuration may name, far above any model's: no product of them overflows, and nothing is walked or
/// allocated for a number that no file can hold.
enum ConfigurationRange {
    static let hidden = 1...(1 << 18)
    static let intermediate = 1...(1 << 20)
    static let layers = 1...1024
    static let heads = 1...(1 << 12)
    static let headDimension = 2...(1 << 12)
    static let vocabulary = 1...(1 << 24)
    static let positions = 1...(1 << 31)
    /// A norm's epsilon: a float32 that is not zero.
    static let epsilon = 1e-30...1.0
    /// Soft caps and scales.
    static let scale = 1e-6...1e9
}

/// The sizes that `config.json` names alike in all decoders.
struct DecoderSizes: Sendable, Equatable {
    var hidden: Int
    var intermediate: Int
    var layers: Int
    var heads: Int
    var keyValueHeads: Int
    var headDimension: Int
    var vocabulary: Int
    var maximumPositions: Int

    /// A family's defaults.
    struct Defaults {
        var hidden: Int
        var intermediate: Int
        var layers: Int
        var heads: Int
        var keyValueHeads: OptionalSize
        var headDimension: OptionalSize
        var vocabulary: Int
        var maximumPositions: Int
    }

    /// The default of a size that may follow from others: as many key/value heads as heads, heads of hidden / heads dimensions.
    enum OptionalSize {
        /// It follows where the key is absent or null.
        case derived
        /// The number where the key is absent; null makes it follow.
        case number(Int)
        /// The number where the key is absent; null is refused.
        case always(Int)
    }

    /// - Throws: exit 2 naming the key that is out of range or does not fit the others.
    static func read(_ reader: inout ConfigurationReader, _ standard: Defaults) throws -> DecoderSizes {
        let hidden = try reader.size("hidden_size", default: standard.hidden, in: ConfigurationRange.hidden)
        let heads = try reader.size("num_attention_heads", default: standard.heads, in: ConfigurationRange.heads)
        let keyValueHeads = try read(&reader, "num_key_value_heads", standard.keyValueHeads, derived: heads, in: ConfigurationRange.heads)
        guard heads % keyValueHeads == 0 else {
            throw reader.refusal("num_key_value_heads", "is \(keyValueHeads)", "a divisor of num_attention_heads (\(heads))")
        }
        if case .derived = standard.headDimension, !reader.has("head_dim"), hidden % heads != 0 {
            throw reader.refusal("num_attention_heads", "is \(heads)", "a divisor of hidden_size (\(hidden)) where there is no head_dim")
        }
        let headDimension = try read(
            &reader, "head_dim", standard.headDimension, derived: hidden / heads, in: ConfigurationRange.headDimension)
        guard headDimension % 2 == 0 else { throw reader.refusal("head_dim", "is \(headDimension)", "even, for its halves rotate") }
        return DecoderSizes(
            hidden: hidden,
            intermediate: try reader.size("intermediate_size", default: standard.intermediate, in: ConfigurationRange.intermediate),
            layers: try reader.size("num_hidden_layers", default: standard.layers, in: ConfigurationRange.layers), heads: heads,
            keyValueHeads: keyValueHeads, headDimension: headDimension,
            vocabulary: try reader.size("vocab_size", default: standard.vocabulary, in: ConfigurationRange.vocabulary),
            maximumPositions: try reader.size("max_position_embeddings", default: standard.maximumPositions, in: ConfigurationRange.positions))
    }

    private static func read(
        _ reader: inout ConfigurationReader, _ key: String, _ standard: OptionalSize, derived: Int, in range: ClosedRange<Int>
    ) throws -> Int {
        switch standard {
        case .always(let number): return try reader.size(key, default: number, in: range)
        case .derived, .number:
            var number: Int?
            if case .number(let given) = standard { number = given }
            if let value = try reader.optionalSize(key, default: number, in: range) { return value }
            guard range.contains(derived) else { throw reader.refusal(key, "would be \(derived)", "from \(range.lowerBound) to \(range.upperBound)") }
            reader.note(key, JSON(derived))
            return derived
        }
    }
}
