import LorikeetGround
import LorikeetJSON

/// Rotary positions as a configuration states them; the engine turns them into frequencies.
package struct RoPEConfiguration: Sendable, Equatable {
    /// `default`, `linear`, `llama3`, `yarn`, …
    package var type: String
    package var theta: Double
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalMaximumPositions: Int
    /// Share of a head's dimensions that rotate.
    package var partialRotaryFactor: Double
}

/// `config.json`, in today's form (`rope_parameters`, `dtype`) or the older one (`rope_theta`, `rope_scaling`, `torch_dtype`).
package struct ModelConfiguration: Sendable {
    /// As read, or as made from a GGUF's metadata; what merging writes.
    package let json: JSON
    package let modelType: String
    package let architecture: String
    package let hiddenSize: Int
    package let intermediateSize: Int
    package let layerCount: Int
    package let headCount: Int
    package let keyValueHeadCount: Int
    package let headDimension: Int
    package let vocabularySize: Int
    package let rmsNormEpsilon: Double
    package let rope: RoPEConfiguration
    package let maximumPositions: Int
    package let tieWordEmbeddings: Bool
    package let attentionBias: Bool
    package let mlpBias: Bool
    package let hiddenActivation: String
    package let slidingWindow: Int?
    package let layerTypes: [String]?
    package let attentionLogitSoftcap: Double?
    package let finalLogitSoftcap: Double?
    package let queryPreAttentionScalar: Double?
    package let bosTokenID: Int?
    package let eosTokenIDs: [Int]
    package let padTokenID: Int?

    /// - Throws: exit 2 naming the key that is missing or unusable.
    package init(json: JSON, source: String) throws {
        func need(_ key: String) throws -> Int {
            guard let value = json[key]?.int else {
                throw LorikeetError.input("'\(key)' is missing or not a whole number", at: source, mend: "use the model's own config.json")
            }
            guard value > 0, value <= 1 << 28 else { throw LorikeetError.input("'\(key)' is \(value)", at: source) }
            return value
        }
        guard let modelType = json["model_type"]?.string else {
            throw LorikeetError.input("'model_type' is missing", at: source, mend: "use the model's own config.json")
        }
        self.json = json
        self.modelType = modelType
        architecture = json["architectures"]?.array?.first?.string ?? ""
        hiddenSize = try need("hidden_size")
        intermediateSize = try need("intermediate_size")
        layerCount = try need("num_hidden_layers")
        headCount = try need("num_attention_heads")
        keyValueHeadCount = json["num_key_value_heads"]?.int ?? headCount
        headDimension = json["head_dim"]?.int ?? hiddenSize / headCount
        vocabularySize = try need("vocab_size")
        guard keyValueHeadCount > 0, headCount % keyValueHeadCount == 0, headDimension > 0, headDimension % 2 == 0, headDimension <= 4096 else {
            throw LorikeetError.input("\(headCount) heads, \(keyValueHeadCount) key/value heads of size \(headDimension) do not fit together", at: source)
        }
        rmsNormEpsilon = json["rms_norm_eps"]?.double ?? 1e-6
        maximumPositions = json["max_position_embeddings"]?.int ?? 2048
        rope = Self.rope(json, maximumPositions: maximumPositions)
        // Hugging Face's default for a config that does not say differs by family; Gemma's is true.
        tieWordEmbeddings = json["tie_word_embeddings"]?.bool ?? modelType.hasPrefix("gemma")
        attentionBias = json["attention_bias"]?.bool ?? false
        mlpBias = json["mlp_bias"]?.bool ?? false
        hiddenActivation = json["hidden_act"]?.string ?? json["hidden_activation"]?.string ?? "silu"
        slidingWindow = json["sliding_window"]?.int
        layerTypes = json["layer_types"]?.array?.compactMap(\.string)
        attentionLogitSoftcap = json["attn_logit_softcapping"]?.double
        finalLogitSoftcap = json["final_logit_softcapping"]?.double
        queryPreAttentionScalar = json["query_pre_attn_scalar"]?.double
        bosTokenID = json["bos_token_id"]?.int
        eosTokenIDs = json["eos_token_id"]?.int.map { [$0] } ?? json["eos_token_id"]?.array?.compactMap(\.int) ?? []
        padTokenID = json["pad_token_id"]?.int
    }

    private static func rope(_ json: JSON, maximumPositions: Int) -> RoPEConfiguration {
        let today = json["rope_parameters"]
        let scaling = today ?? json["rope_scaling"]
        return RoPEConfiguration(
            type: scaling?["rope_type"]?.string ?? scaling?["type"]?.string ?? "default",
            theta: today?["rope_theta"]?.double ?? json["rope_theta"]?.double ?? 10_000, factor: scaling?["factor"]?.double ?? 1,
            lowFrequencyFactor: scaling?["low_freq_factor"]?.double ?? 1, highFrequencyFactor: scaling?["high_freq_factor"]?.double ?? 4,
            originalMaximumPositions: scaling?["original_max_position_embeddings"]?.int
                ?? json["original_max_position_embeddings"]?.int ?? maximumPositions,
            partialRotaryFactor: today?["partial_rotary_factor"]?.double ?? json["partial_rotary_factor"]?.double ?? 1)
    }
}
