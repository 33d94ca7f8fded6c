import LorikeetGround
import LorikeetJSON

/// Qwen 3 (Yang et al. 2025, arXiv:2505.09388): Llama's block with the heads of q and k normalised before they are rotated.
struct Qwen3: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    let rope: RoPETable

    /// Defaults are those of transformers' `Qwen3Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        let decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 22016, layers: 32, heads: 32, keyValueHeads: .number(32), headDimension: .always(128),
                    vocabulary: 151_936, maximumPositions: 32768),
                epsilon: 1e-6, activation: "silu", tied: false),
            biases: .init(queryKeyValue: bias, output: bias))
        self.decoder = decoder
        attention = try LayerTypes.lastWindows(&reader, layers: decoder.sizes.layers).map { decoder.attention(window: $0) }
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention[block.layer], &b) { joint, b in
                block.normHeads(joint, &b)
                block.rope(joint, rope, &b)
            }
        }
    }
}

// MARK: file formats

extension Qwen3 {
    static let huggingFace = HuggingFaceFormat(modelType: "qwen3", architecture: "Qwen3ForCausalLM")

    /// llama.cpp's `Qwen3Model` (convert_hf_to_gguf.py).
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "qwen3",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors() + [
            TensorRule("model.layers.{layer}.self_attn.q_norm", "blk.{layer}.attn_q_norm"),
            TensorRule("model.layers.{layer}.self_attn.k_norm", "blk.{layer}.attn_k_norm"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
