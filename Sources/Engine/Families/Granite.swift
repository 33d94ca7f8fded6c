import LorikeetGround
import LorikeetJSON

/// Granite (Granite Team 2024): Llama's block with factors of the embedding, the scores, what is added to the residual stream, and the
/// logits.
struct Granite: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `GraniteConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        var decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 11008, layers: 32, heads: 32, keyValueHeads: .derived, headDimension: .derived, vocabulary: 32000,
                    maximumPositions: 2048),
                epsilon: 1e-6, activation: "silu", tied: false),
            biases: .init(queryKeyValue: bias, output: bias, mlp: try reader.flag("mlp_bias", default: false)))
        func factor(_ key: String) throws -> Float { Float(try reader.number(key, default: 1, in: ConfigurationRange.scale)) }
        decoder.embeddingScale = try factor("embedding_multiplier")
        decoder.residualScale = try factor("residual_multiplier")
        decoder.logitScale = try 1 / factor("logits_scaling")
        attention = decoder.attention(scale: try factor("attention_multiplier"))
        self.decoder = decoder
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention, &b) { block.rope($0, rope, &$1) } }
    }
}

// MARK: file formats

extension Granite {
    static let huggingFace = HuggingFaceFormat(modelType: "granite", architecture: "GraniteForCausalLM")

    /// llama.cpp's `GraniteModel` (convert_hf_to_gguf.py).
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "granite",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .value("attention_multiplier", "attention.scale", .real, ifAbsent: .inverseSquareRoot("head_dim")),
            .value("embedding_multiplier", "embedding_scale", .real, ifAbsent: .value(1.0)),
            .value("residual_multiplier", "residual_scale", .real, ifAbsent: .value(1.0)),
            .value("logits_scaling", "logit_scale", .real, ifAbsent: .value(1.0)),
            .only("rope.scaling.finetuned", true),
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
            .tensor("mlp_bias", "blk.0.ffn_up.bias", present: true),
            .only("expert_count", 0),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors(interleaved: true) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        ropeFactors: "rope_freqs.weight")
}
