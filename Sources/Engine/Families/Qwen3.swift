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
        let decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 22016, layers: 32, heads: 32, keyValueHeads: 32, headDimension: 128, vocabulary: 151_936,
                    maximumPositions: 32768)))
        self.decoder = decoder
        let slides = try reader.flag("use_sliding_window", default: false)
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        let firstWindow = try reader.size("max_window_layers", default: 28, in: 0...ConfigurationRange.layers.upperBound)
        attention = try LayerTypes.windows(&reader, layers: decoder.sizes.layers, window: slides ? window : nil) { slides && $0 >= firstWindow }.map {
            decoder.attention(window: $0)
        }
        rope = RoPETable(try RoPEConfiguration.read(&reader, headDimension: decoder.sizes.headDimension))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            let shape = attention[block.layer]
            let (d, heads, keyValueHeads) = (shape.headDimension, shape.heads, shape.keyValueHeads)
            let joint = b.linear(block.norm(x, "input_layernorm", &b), block.queryKeyValue)
            b.normInPlace(
                joint,
                [
                    NormPart(weight: block.name("self_attn.q_norm.weight"), groups: heads, columns: d),
                    NormPart(weight: block.name("self_attn.k_norm.weight"), firstColumn: heads * d, groups: keyValueHeads, columns: d),
                ], epsilon: decoder.epsilon)
            block.rope(joint, rope, &b)
            let attended = b.add(x, block.attention(joint, shape, &b))
            return b.add(attended, block.gatedMLP(block.norm(attended, "post_attention_layernorm", &b), &b))
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
