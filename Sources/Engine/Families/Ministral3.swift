import LorikeetGround
import LorikeetJSON

/// Ministral 3 (Mistral AI 2025): Mistral's block with YaRN rotation, and queries that grow with their position
/// (1 + beta * log(1 + floor(position / original context)), as in Llama 4).
struct Ministral3: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable
    /// beta; 0 leaves the queries.
    let queryScale: Float
    /// Positions of the original context.
    let originalPositions: Int

    /// Defaults are those of transformers' `Ministral3Config`, which has a whole `rope_parameters` of its own.
    init(_ reader: inout ConfigurationReader) throws {
        decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 14336, layers: 34, heads: 32, keyValueHeads: .number(8), headDimension: .number(128),
                    vocabulary: 131_072, maximumPositions: 262_144),
                epsilon: 1e-5, activation: "silu", tied: false))
        attention = decoder.attention(window: try reader.optionalSize("sliding_window", default: nil, in: ConfigurationRange.positions))
        if !reader.has("rope_parameters"), !reader.has("rope_scaling") { reader.fill("rope_parameters", Self.defaultRope) }
        let rope = try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000))
        self.rope = RoPETable(rope)
        let root = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling"
        queryScale = Float(try reader.requiredNumber("\(root).llama_4_scaling_beta", in: 0...1e3))
        reader.note("rope_scaling.llama_4_scaling_beta", JSON(Double("\(queryScale)") ?? Double(queryScale)))
        guard case .yarn(let settings) = rope.scaling else {
            // The query's scale needs the length of the original context all the same.
            let key = "\(root).original_max_position_embeddings"
            originalPositions = Int(try reader.requiredNumber(key, in: 1...1e9))
            return
        }
        originalPositions = settings.originalPositions
    }

    private static let defaultRope: JSON = [
        "rope_type": "yarn", "rope_theta": 1_000_000.0, "factor": 16.0, "original_max_position_embeddings": 16384, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1,
    ]

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention, &b) { joint, b in
                if queryScale != 0 {
                    b.scaleQueries(joint, columns: attention.heads * attention.headDimension, beta: queryScale, original: originalPositions)
                }
                block.rope(joint, rope, &b)
            }
        }
    }
}

// MARK: file formats

extension Ministral3 {
    static let huggingFace = HuggingFaceFormat(
        modelType: "ministral3", architecture: "Ministral3ForCausalLM",
        inertKeys: [
            Ignored("rope_parameters.max_position_embeddings", "the length of the extended context, which max_position_embeddings says too"),
            Ignored("rope_scaling.max_position_embeddings", "the length of the extended context, which max_position_embeddings says too"),
        ])

    /// llama.cpp's `Ministral3Model` (convert_hf_to_gguf.py). Of YaRN's two magnitudes it writes `mscale_all_dim` and takes 1 for the other.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "mistral3", distinction: ("attention.temperature_scale", true),
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false)
        ] + GGUFFormat.ropeMetadata(scaling: true) + [
            .value("rope_scaling.mscale_all_dim", "rope.scaling.yarn_log_multiplier", .real, ifAbsent: .omitted),
            .constant("rope_scaling.mscale", 1.0),
            .value("rope_scaling.llama_4_scaling_beta", "attention.temperature_scale", .real, ifAbsent: .refused),
        ],
        tensors: GGUFFormat.decoderTensors(interleaved: true) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
