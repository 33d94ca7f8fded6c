import LorikeetGround
import LorikeetJSON

/// Gemma 2 (Riviere et al. 2024, arXiv:2408.00118): norms before and after each sublayer with weights 1 + w, windows on every second
/// layer, soft caps on scores and logits, an embedding scaled by sqrt(C).
struct Gemma2: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    let rope: RoPETable

    /// Defaults are those of transformers' `Gemma2Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        var decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 2304, intermediate: 9216, layers: 26, heads: 8, keyValueHeads: .always(4), headDimension: .always(256),
                    vocabulary: 256_000, maximumPositions: 8192),
                epsilon: 1e-6, activationKey: "hidden_activation", activation: "gelu_pytorch_tanh", tied: true),
            biases: .init(queryKeyValue: bias, output: bias))
        decoder.weightOffset = 1
        decoder.embeddingScale = Float(decoder.sizes.hidden).squareRoot()
        decoder.logitCap = try reader.optionalNumber("final_logit_softcapping", default: 30, in: ConfigurationRange.scale).map { Float($0) }
        let scale = 1 / Float(try reader.number("query_pre_attn_scalar", default: 256, in: ConfigurationRange.scale)).squareRoot()
        let scoreCap = try reader.optionalNumber("attn_logit_softcapping", default: 50, in: ConfigurationRange.scale).map { Float($0) }
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        attention = try LayerTypes.windows(&reader, layers: decoder.sizes.layers, window: window) { $0 % 2 == 0 }.map { [decoder] in
            decoder.attention(scale: scale, window: $0, softCap: scoreCap)
        }
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
        try Activation.checkRepeated(&reader, "hidden_act", decoder.activation, readFrom: "hidden_activation")
        try reader.refuseBidirectionalAttention()
        self.decoder = decoder
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention[block.layer], &b, norms: .around) { block.rope($0, rope, &$1) } }
    }
}

extension ConfigurationReader {
    /// Gemma's text encoders attend to later tokens too; a language model does not.
    mutating func refuseBidirectionalAttention() throws {
        let key = "use_bidirectional_attention"
        defer { forget(key) }
        guard has(key), try flag(key, default: false) else { return }
        throw refusal(key, "is true", "false: a language model sees what stands before")
    }
}

// MARK: file formats

extension Gemma2 {
    static let huggingFace = HuggingFaceFormat(modelType: "gemma2", architecture: "Gemma2ForCausalLM")

    /// llama.cpp's `Gemma2Model` (convert_hf_to_gguf.py). The query's scale is not written: llama.cpp takes hidden / heads for the model
    /// of 46 layers (27B) and the head size for all others.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "gemma2",
        metadata: GGUFFormat.decoderMetadata(activation: "gelu_pytorch_tanh", activationKey: "hidden_activation") + [
            .derived(
                "query_pre_attn_scalar",
                .when("num_hidden_layers", equals: 46, .quotient("hidden_size", "num_attention_heads"), otherwise: .same("head_dim"))),
            .value("attn_logit_softcapping", "attn_logit_softcapping", .real, ifAbsent: .value(50.0)),
            .value("final_logit_softcapping", "final_logit_softcapping", .real, ifAbsent: .value(30.0)),
            .value("sliding_window", "attention.sliding_window", .whole, ifAbsent: .value(4096)),
            .tensor("tie_word_embeddings", "output.weight", present: false),
        ] + GGUFFormat.ropeMetadata(scaling: false),
        tensors: GGUFFormat.decoderTensors(norms: .plus(1)) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.post_attention_norm", .plus(1)),
            TensorRule("model.layers.{layer}.pre_feedforward_layernorm", "blk.{layer}.ffn_norm", .plus(1)),
            TensorRule("model.layers.{layer}.post_feedforward_layernorm", "blk.{layer}.post_ffw_norm", .plus(1)),
        ])
}
