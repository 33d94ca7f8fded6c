import LorikeetGround
import LorikeetJSON

/// Gemma 3 (Gemma Team 2025, arXiv:2503.19786), the language model: Gemma 2's block with the heads of q and k normalised instead of soft
/// caps, five layers with a window to one without, and a base of its own for the rotation of each kind of layer.
struct Gemma3: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    /// Of layers without a window, and of those with one.
    let (rope, windowRoPE): (RoPETable, RoPETable)

    /// Defaults are those of transformers' `Gemma3TextConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        var decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 2304, intermediate: 9216, layers: 26, heads: 8, keyValueHeads: .always(4), headDimension: .always(256),
                    vocabulary: 262_208, maximumPositions: 131_072),
                epsilon: 1e-6, activationKey: "hidden_activation", activation: "gelu_pytorch_tanh", tied: true),
            biases: .init(queryKeyValue: bias, output: bias))
        decoder.weightOffset = 1
        decoder.embeddingScale = Float(decoder.sizes.hidden).squareRoot()
        decoder.logitCap = try reader.optionalNumber("final_logit_softcapping", default: nil, in: ConfigurationRange.scale).map { Float($0) }
        let scale = 1 / Float(try reader.number("query_pre_attn_scalar", default: 256, in: ConfigurationRange.scale)).squareRoot()
        if try reader.optionalNumber("attn_logit_softcapping", default: nil, in: ConfigurationRange.scale) != nil {
            reader.warn("\(reader.source): 'attn_logit_softcapping' is not applied: Gemma 3 normalises q and k instead, as in transformers")
        }
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        let pattern = reader.has("layer_types") ? 6 : try reader.size("sliding_window_pattern", default: 6, in: ConfigurationRange.layers)
        attention = try LayerTypes.windows(&reader, layers: decoder.sizes.layers, window: window) { ($0 + 1) % pattern != 0 }.map { [decoder] in
            decoder.attention(scale: scale, window: $0)
        }
        reader.forget("sliding_window_pattern")
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 1_000_000, layerType: "full_attention")))
        windowRoPE = RoPETable(
            try RoPEConfiguration.read(
                &reader, decoder.sizes, .init(theta: 10_000, thetaKey: "rope_local_base_freq", scalingKey: nil, layerType: "sliding_attention")))
        try Activation.checkRepeated(&reader, "hidden_act", decoder.activation, readFrom: "hidden_activation")
        try reader.refuseBidirectionalAttention()
        self.decoder = decoder
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            let shape = attention[block.layer]
            return block.forward(x, shape, &b, norms: .around) { joint, b in
                block.normHeads(joint, &b)
                block.rope(joint, shape.window == nil ? rope : windowRoPE, &b)
            }
        }
    }
}

// MARK: file formats

extension Gemma3 {
    static let huggingFace = HuggingFaceFormat(
        modelType: "gemma3_text", architecture: "Gemma3ForCausalLM",
        inertKeys: [
            Ignored("sliding_window_pattern", "layer_types, where it is there, says which layers have a window"),
            Ignored("_sliding_window_pattern", "a copy that transformers writes beside layer_types and does not read"),
        ])

    /// llama.cpp's `Gemma3Model` (convert_hf_to_gguf.py). The query's scale is not written: llama.cpp takes hidden / heads for the model
    /// of 62 layers (27B) and the head size for all others. Layers with a window are not scaled.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "gemma3",
        metadata: GGUFFormat.decoderMetadata(activation: "gelu_pytorch_tanh", activationKey: "hidden_activation") + [
            .derived(
                "query_pre_attn_scalar",
                .when("num_hidden_layers", equals: 62, .quotient("hidden_size", "num_attention_heads"), otherwise: .same("head_dim"))),
            .value("final_logit_softcapping", "final_logit_softcapping", .real, ifAbsent: .omitted),
            .windows("attention.sliding_window", pattern: "attention.sliding_window_pattern", every: 6),
            .value("rope_local_base_freq", "rope.freq_base_swa", .real, ifAbsent: .value(10000.0)),
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors(norms: .plus(1)) + [
            TensorRule("model.layers.{layer}.self_attn.q_norm", "blk.{layer}.attn_q_norm", .plus(1)),
            TensorRule("model.layers.{layer}.self_attn.k_norm", "blk.{layer}.attn_k_norm", .plus(1)),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.post_attention_norm", .plus(1)),
            TensorRule("model.layers.{layer}.pre_feedforward_layernorm", "blk.{layer}.ffn_norm", .plus(1)),
            TensorRule("model.layers.{layer}.post_feedforward_layernorm", "blk.{layer}.post_ffw_norm", .plus(1)),
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
