import LorikeetGround
import LorikeetJSON

/// Llama (Touvron et al. 2023, arXiv:2302.13971) and what shares its blocks: pre-norm, rotary positions, grouped heads, SwiGLU.
struct Llama: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `LlamaConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        let attentionBias = try reader.flag("attention_bias", default: false)
        decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 11008, layers: 32, heads: 32, keyValueHeads: .derived, headDimension: .derived, vocabulary: 32000,
                    maximumPositions: 2048),
                epsilon: 1e-6, activation: "silu", tied: false),
            biases: .init(queryKeyValue: attentionBias, output: attentionBias, mlp: try reader.flag("mlp_bias", default: false)))
        attention = decoder.attention()
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in block.forward(x, attention, &b) { block.rope($0, rope, &$1) } }
    }
}

// MARK: file formats

extension Llama {
    static let huggingFace = HuggingFaceFormat(
        modelType: "llama", architecture: "LlamaForCausalLM",
        inertKeys: [
            Ignored("pretraining_tp", "in how many slices products were computed; the same sums"),
            Ignored("is_llama_config", "a mark of the program that converted the weights"),
        ],
        ignoredTensors: [
            Ignored("model.layers.{layer}.self_attn.rotary_emb.inv_freq", "a buffer of old files; the frequencies follow from rope_theta"),
            Ignored("model.rotary_emb.inv_freq", "a buffer of old files; the frequencies follow from rope_theta"),
        ])

    /// llama.cpp's `LlamaModel` (convert_hf_to_gguf.py).
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "llama",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
            .tensor("mlp_bias", "blk.0.ffn_up.bias", present: true),
            .only("rope.scale_linear", 1),
            .only("expert_count", 0),
            .only("attention.sliding_window", 0),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors(interleaved: true) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        ropeFactors: "rope_freqs.weight",
        inertMetadata: [
            Ignored("expert_used_count", "without experts it says nothing"),
            Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way"),
            Ignored("tensor_data_layout", "a remark of old converters; q and k have the same order in all files"),
        ])
}
