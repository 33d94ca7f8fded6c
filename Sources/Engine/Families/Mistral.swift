import LorikeetGround
import LorikeetJSON

/// Mistral (Jiang et al. 2023, arXiv:2310.06825): Llama's block without biases, with a window in every layer or in none.
struct Mistral: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `MistralConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 14336, layers: 32, heads: 32, keyValueHeads: .number(8), headDimension: .derived, vocabulary: 32000,
                    maximumPositions: 131_072),
                epsilon: 1e-6, activation: "silu", tied: false))
        attention = decoder.attention(window: try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions))
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention, &b) { block.rope($0, rope, &$1) } }
    }
}

// MARK: file formats

extension Mistral {
    static let huggingFace = HuggingFaceFormat(modelType: "mistral", architecture: "MistralForCausalLM")

    /// llama.cpp's `Mistral3Model` (convert_hf_to_gguf.py) for the text part of Mistral Small 3.1.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "mistral3", distinction: ("attention.temperature_scale", false),
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .constant("sliding_window", .null),
            .tensor("tie_word_embeddings", "output.weight", present: false),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors(interleaved: true) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])

    /// `MistralForCausalLM` as llama.cpp has it: a Llama, without the window.
    static let writtenGGUF: GGUFFormat? = Llama.gguf
}
