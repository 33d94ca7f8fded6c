import LorikeetGround
import LorikeetJSON

/// Llama (Touvron et al. 2023, arXiv:2302.13971) and what shares its blocks: pre-norm, rotary positions, grouped heads, SwiGLU.
struct Llama: ModelFamily {
    let hiddenSize: Int
    let intermediate: Int
    let layers: Int
    let vocabularySize: Int
    let epsilon: Float
    let attention: AttentionShape
    let rope: RoPETable
    let activation: Activation
    let attentionBias: Bool
    let mlpBias: Bool
    let tied: Bool

    /// Defaults are those of transformers' `LlamaConfig`.
    init(_ reader: inout ConfigurationReader) throws {
        let sizes = try DecoderSizes.read(
            &reader, .init(hidden: 4096, intermediate: 11008, layers: 32, heads: 32, vocabulary: 32000, maximumPositions: 2048))
        hiddenSize = sizes.hidden
        intermediate = sizes.intermediate
        layers = sizes.layers
        vocabularySize = sizes.vocabulary
        epsilon = Float(try reader.number("rms_norm_eps", default: 1e-6, in: ConfigurationRange.epsilon))
        attention = AttentionShape(
            heads: sizes.heads, keyValueHeads: sizes.keyValueHeads, headDimension: sizes.headDimension,
            scale: 1 / Float(sizes.headDimension).squareRoot())
        rope = RoPETable(try RoPEConfiguration.read(&reader, headDimension: sizes.headDimension))
        activation = try Activation.read(&reader, default: "silu")
        attentionBias = try reader.flag("attention_bias", default: false)
        mlpBias = try reader.flag("mlp_bias", default: false)
        tied = try reader.flag("tie_word_embeddings", default: false)
    }

    func forward(_ b: inout ProgramBuilder) {
        var x = b.embedding("model.embed_tokens.weight", vocabulary: vocabularySize, columns: hiddenSize)
        for layer in 0..<layers { b.block { x = block("model.layers.\(layer).", x, &$0) } }
        let y = b.norm(x, "model.norm.weight", epsilon: epsilon)
        b.head(y, tied ? "model.embed_tokens.weight" : "lm_head.weight", vocabulary: vocabularySize)
    }

    private func block(_ name: String, _ x: ValueID, _ b: inout ProgramBuilder) -> ValueID {
        let d = attention.headDimension
        let q = LinearWeight(name + "self_attn.q_proj", rows: attention.heads * d, columns: hiddenSize, hasBias: attentionBias)
        let k = LinearWeight(name + "self_attn.k_proj", rows: attention.keyValueHeads * d, columns: hiddenSize, hasBias: attentionBias)
        let v = LinearWeight(name + "self_attn.v_proj", rows: attention.keyValueHeads * d, columns: hiddenSize, hasBias: attentionBias)
        let o = LinearWeight(name + "self_attn.o_proj", rows: hiddenSize, columns: attention.heads * d, hasBias: attentionBias)
        let gate = LinearWeight(name + "mlp.gate_proj", rows: intermediate, columns: hiddenSize, hasBias: mlpBias)
        let up = LinearWeight(name + "mlp.up_proj", rows: intermediate, columns: hiddenSize, hasBias: mlpBias)
        let down = LinearWeight(name + "mlp.down_proj", rows: hiddenSize, columns: intermediate, hasBias: mlpBias)

        let normed = b.norm(x, name + "input_layernorm.weight", epsilon: epsilon)
        let joint = b.linear(normed, [q, k, v])
        b.rope(joint, rope, heads: attention.heads + attention.keyValueHeads, headDimension: d)
        let attended = b.add(x, b.linear(b.attention(joint, attention), [o], residual: true))

        let normed2 = b.norm(attended, name + "post_attention_layernorm.weight", epsilon: epsilon)
        return b.add(attended, b.linear(b.gatedActivation(b.linear(normed2, [gate, up]), activation), [down], residual: true))
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
            .value("rope_theta", "rope.freq_base", .real, ifAbsent: .value(10000.0)),
            .rotatedDimensions("rope.dimension_count"),
            .value("rope_scaling.rope_type", "rope.scaling.type", .text, ifAbsent: .omitted),
            .value("rope_scaling.factor", "rope.scaling.factor", .real, ifAbsent: .omitted),
            .value("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length", .whole, ifAbsent: .omitted),
            .only("rope.scale_linear", 1),
            .only("expert_count", 0),
            .only("attention.sliding_window", 0),
        ],
        tensors: [
            TensorRule("model.embed_tokens", "token_embd"),
            TensorRule("model.norm", "output_norm"),
            TensorRule("lm_head", "output"),
            TensorRule("model.layers.{layer}.input_layernorm", "blk.{layer}.attn_norm"),
            TensorRule("model.layers.{layer}.self_attn.q_proj", "blk.{layer}.attn_q", .interleavedHeads("num_attention_heads")),
            TensorRule("model.layers.{layer}.self_attn.k_proj", "blk.{layer}.attn_k", .interleavedHeads("num_key_value_heads")),
            TensorRule("model.layers.{layer}.self_attn.v_proj", "blk.{layer}.attn_v"),
            TensorRule("model.layers.{layer}.self_attn.o_proj", "blk.{layer}.attn_output"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
            TensorRule("model.layers.{layer}.mlp.gate_proj", "blk.{layer}.ffn_gate"),
            TensorRule("model.layers.{layer}.mlp.up_proj", "blk.{layer}.ffn_up"),
            TensorRule("model.layers.{layer}.mlp.down_proj", "blk.{layer}.ffn_down"),
        ],
        ropeFactors: "rope_freqs.weight",
        inertMetadata: [
            Ignored("expert_used_count", "without experts it says nothing"),
            Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way"),
            Ignored("tensor_data_layout", "a remark of old converters; q and k have the same order in all files"),
        ])
}
