import LorikeetGround
import LorikeetJSON

/// Gemma (Gemma Team 2024, arXiv:2403.08295): Llama's block with norms that multiply by 1 + w, a GELU gate and an embedding scaled by
/// sqrt(C).
struct Gemma: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `GemmaConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        var decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 3072, intermediate: 24576, layers: 28, heads: 16, keyValueHeads: .always(16), headDimension: .always(256),
                    vocabulary: 256_000, maximumPositions: 8192),
                epsilon: 1e-6, activation: "gelu_pytorch_tanh", tied: true),
            biases: .init(queryKeyValue: bias, output: bias))
        // The first published files say "gelu" where the model uses its tanh approximation.
        if decoder.activation == .gelu { decoder.activation = .geluTanh }
        if decoder.activation == .geluTanh { reader.note("hidden_act", "gelu_pytorch_tanh") }
        try Activation.checkRepeated(&reader, "hidden_activation", decoder.activation, readFrom: "hidden_act")
        decoder.weightOffset = 1
        decoder.embeddingScale = Float(decoder.sizes.hidden).squareRoot()
        self.decoder = decoder
        attention = decoder.attention()
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
        try reader.refuseBidirectionalAttention()
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention, &b) { block.rope($0, rope, &$1) } }
    }
}

// MARK: file formats

extension Gemma {
    static let huggingFace = HuggingFaceFormat(modelType: "gemma", architecture: "GemmaForCausalLM")

    /// llama.cpp's `GemmaModel` (convert_hf_to_gguf.py). The base of the rotation is not written.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "gemma",
        metadata: GGUFFormat.decoderMetadata(activation: "gelu_pytorch_tanh") + [
            .tensor("tie_word_embeddings", "output.weight", present: false)
        ] + GGUFFormat.ropeMetadata(scaling: false),
        tensors: GGUFFormat.decoderTensors(norms: .plus(1)) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm", .plus(1))
        ])
}
