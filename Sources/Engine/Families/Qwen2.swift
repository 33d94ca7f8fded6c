import LorikeetGround
import LorikeetJSON

/// Qwen 2 and 2.5 (Yang et al. 2024, arXiv:2407.10671): Llama's block with biases of q, k and v, and windows in the last layers where the
/// configuration asks for them.
struct Qwen2: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    let rope: RoPETable

    /// Defaults are those of transformers' `Qwen2Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 22016, layers: 32, heads: 32, keyValueHeads: .number(32), headDimension: .derived,
                    vocabulary: 151_936, maximumPositions: 32768),
                epsilon: 1e-6, activation: "silu", tied: false),
            biases: .init(queryKeyValue: true))
        self.decoder = decoder
        attention = try LayerTypes.lastWindows(&reader, layers: decoder.sizes.layers).map { decoder.attention(window: $0) }
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention[block.layer], &b) { block.rope($0, rope, &$1) } }
    }
}

// MARK: file formats

extension Qwen2 {
    static let huggingFace = HuggingFaceFormat(
        modelType: "qwen2", architecture: "Qwen2ForCausalLM",
        inertKeys: [Ignored("attention_bias", "q, k and v of every Qwen 2 have biases, o has none")])

    /// llama.cpp's `Qwen2Model` (convert_hf_to_gguf.py).
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "qwen2",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false)
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors() + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
