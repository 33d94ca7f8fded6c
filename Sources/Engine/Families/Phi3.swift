import LorikeetGround
import LorikeetJSON

/// Phi 3, Phi 3.5, Phi 4 and Phi 4 mini (Abdin et al. 2024, arXiv:2404.14219): Llama's block with q, k and v in one matrix, gate and up in
/// another, part of each head rotated, and LongRoPE in the models of long context.
struct Phi3: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `Phi3Config`.
    init(_ reader: inout ConfigurationReader) throws {
        decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 3072, intermediate: 8192, layers: 32, heads: 32, keyValueHeads: .derived, headDimension: .derived, vocabulary: 32064,
                    maximumPositions: 4096),
                epsilon: 1e-5, activation: "silu", tied: false))
        attention = decoder.attention(window: try reader.optionalSize("sliding_window", default: nil, in: ConfigurationRange.positions))
        // A file that has no scaling may have the length of the original context all the same.
        let original = try reader.size("original_max_position_embeddings", default: 4096, in: ConfigurationRange.positions)
        rope = RoPETable(
            try RoPEConfiguration.read(
                &reader, decoder.sizes, .init(theta: 10_000, originalPositions: original, longRoPENames: ["longrope", "su", "yarn"])))
        for key in ["resid_pdrop", "embd_pdrop"] where try reader.number(key, default: 0, in: 0...1) != 0 {
            reader.warn("\(reader.source): '\(key)' is not applied in training; set lora_dropout instead")
        }
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention, &b, fused: true, fusedMLP: true) { block.rope($0, rope, &$1) }
        }
    }
}

// MARK: file formats

extension Phi3 {
    static let huggingFace = HuggingFaceFormat(
        modelType: "phi3", architecture: "Phi3ForCausalLM",
        inertKeys: [
            Ignored("auto_map", "where transformers finds code for models that it does not have; it has this one"),
            Ignored("attention_bias", "a key of the models' first code, which has no biases; a bias in the files is refused by its name"),
            Ignored("mlp_bias", "a key of the models' first code, which has no biases; a bias in the files is refused by its name"),
            Ignored("lm_head_bias", "a key of the models' first code, which has no biases; a bias in the files is refused by its name"),
            Ignored("full_attn_mod", "a key of Phi 4 mini's first code: every layer has the same attention"),
            Ignored("interpolate_factor", "a key of Phi 4 mini's first code, which nothing reads"),
        ])

    /// llama.cpp's `Phi3MiniModel` (convert_hf_to_gguf.py); Phi 4 has the same architecture.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "phi3",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .window("attention.sliding_window"),
            .value("original_max_position_embeddings", "rope.scaling.original_context_length", .whole, ifAbsent: .omitted),
            .tensor("tie_word_embeddings", "output.weight", present: false),
        ] + GGUFFormat.ropeMetadata(scaling: false),
        tensors: GGUFFormat.decoderTensors() + [
            TensorRule("model.layers.{layer}.self_attn.qkv_proj", "blk.{layer}.attn_qkv"),
            TensorRule("model.layers.{layer}.mlp.gate_up_proj", "blk.{layer}.ffn_up"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
        ],
        longRoPE: LongRoPETensors(short: "rope_factors_short.weight", long: "rope_factors_long.weight", attentionFactor: "rope.scaling.attn_factor"),
        windowIsNotApplied: true,
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
