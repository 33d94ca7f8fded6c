import LorikeetGround
import LorikeetJSON

/// GLM 4 0414 (GLM Team 2025): norms before and after each sublayer, biases of q, k and v, gate and up in one matrix, and half of each head
/// rotated in pairs of neighbours.
struct GLM4: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `Glm4Config`.
    init(_ reader: inout ConfigurationReader) throws {
        decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 13696, layers: 40, heads: 32, keyValueHeads: .always(2), headDimension: .always(128),
                    vocabulary: 151_552, maximumPositions: 131_072),
                epsilon: 1.5625e-7, activation: "silu", tied: false),
            biases: .init(queryKeyValue: try reader.flag("attention_bias", default: true)))
        attention = decoder.attention()
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000, partial: 0.5)))
    }

    private static let norms = DecoderBlock.Norms(
        beforeAttention: "input_layernorm", afterAttention: "post_self_attn_layernorm", beforeMLP: "post_attention_layernorm",
        afterMLP: "post_mlp_layernorm")

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention, &b, norms: Self.norms, fusedMLP: true) { block.rope($0, rope, interleaved: true, &$1) }
        }
    }
}

// MARK: file formats

extension GLM4 {
    static let huggingFace = HuggingFaceFormat(modelType: "glm4", architecture: "Glm4ForCausalLM")

    /// llama.cpp's `Glm4Model` (convert_hf_to_gguf.py).
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "glm4",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
            // The language model of GLM-4V, whose rows of q and k have another order.
            .only("rope.dimension_sections", 0),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors() + [
            TensorRule("model.layers.{layer}.post_self_attn_layernorm", "blk.{layer}.post_attention_norm"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
            TensorRule("model.layers.{layer}.mlp.gate_up_proj", "blk.{layer}.ffn_up"),
            TensorRule("model.layers.{layer}.post_mlp_layernorm", "blk.{layer}.post_ffw_norm"),
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
