import LorikeetGround
import LorikeetJSON

/// Gemma 2 (Riviere et al. 2024, arXiv:2408.00118): norms before and after each sublayer with weights 1 + w, windows on every second
/// layer, soft caps on scores and logits, an embedding scaled by sqrt(C).
struct Gemma2: ModelFamily {
    let hiddenSize: Int
    let intermediate: Int
    let vocabularySize: Int
    let epsilon: Float
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    let rope: RoPETable
    let activation: Activation
    let attentionBias: Bool
    let logitCap: Float?
    let tied: Bool

    /// Defaults are those of transformers' `Gemma2Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let sizes = try DecoderSizes.read(
            &reader,
            .init(
                hidden: 2304, intermediate: 9216, layers: 26, heads: 8, keyValueHeads: 4, headDimension: 256, vocabulary: 256_000,
                maximumPositions: 8192))
        hiddenSize = sizes.hidden
        intermediate = sizes.intermediate
        vocabularySize = sizes.vocabulary
        epsilon = Float(try reader.number("rms_norm_eps", default: 1e-6, in: ConfigurationRange.epsilon))
        let scale = 1 / Float(try reader.number("query_pre_attn_scalar", default: 256, in: ConfigurationRange.scale)).squareRoot()
        let scoreCap = try reader.optionalNumber("attn_logit_softcapping", default: 50, in: ConfigurationRange.scale).map { Float($0) }
        logitCap = try reader.optionalNumber("final_logit_softcapping", default: 30, in: ConfigurationRange.scale).map { Float($0) }
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        attention = try LayerTypes.windows(&reader, layers: sizes.layers, window: window) { $0 % 2 == 0 }.map {
            AttentionShape(
                heads: sizes.heads, keyValueHeads: sizes.keyValueHeads, headDimension: sizes.headDimension, scale: scale, window: $0,
                softCap: scoreCap)
        }
        rope = RoPETable(try RoPEConfiguration.read(&reader, headDimension: sizes.headDimension))
        activation = try Activation.read(&reader, "hidden_activation", default: "gelu_pytorch_tanh")
        attentionBias = try reader.flag("attention_bias", default: false)
        tied = try reader.flag("tie_word_embeddings", default: true)
        guard try !reader.flag("use_bidirectional_attention", default: false) else {
            throw reader.refusal("use_bidirectional_attention", "is true", "false: a language model sees what stands before")
        }
    }

    func forward(_ b: inout ProgramBuilder) {
        var x = b.embedding(
            "model.embed_tokens.weight", vocabulary: vocabularySize, columns: hiddenSize, scale: Float(hiddenSize).squareRoot())
        for (layer, shape) in attention.enumerated() { b.block { x = block("model.layers.\(layer).", x, shape, &$0) } }
        let y = b.norm(x, "model.norm.weight", epsilon: epsilon, weightOffset: 1)
        b.head(y, tied ? "model.embed_tokens.weight" : "lm_head.weight", vocabulary: vocabularySize, softCap: logitCap)
    }

    private func block(_ name: String, _ x: ValueID, _ shape: AttentionShape, _ b: inout ProgramBuilder) -> ValueID {
        let d = shape.headDimension
        func attentionMatrix(_ part: String, _ rows: Int, _ columns: Int) -> LinearWeight {
            LinearWeight(name + "self_attn." + part, rows: rows, columns: columns, hasBias: attentionBias)
        }
        let q = attentionMatrix("q_proj", shape.heads * d, hiddenSize)
        let k = attentionMatrix("k_proj", shape.keyValueHeads * d, hiddenSize)
        let v = attentionMatrix("v_proj", shape.keyValueHeads * d, hiddenSize)
        let o = attentionMatrix("o_proj", hiddenSize, shape.heads * d)
        let gate = LinearWeight(name + "mlp.gate_proj", rows: intermediate, columns: hiddenSize)
        let up = LinearWeight(name + "mlp.up_proj", rows: intermediate, columns: hiddenSize)
        let down = LinearWeight(name + "mlp.down_proj", rows: hiddenSize, columns: intermediate)

        let joint = b.linear(b.norm(x, name + "input_layernorm.weight", epsilon: epsilon, weightOffset: 1), [q, k, v])
        b.rope(joint, rope, heads: shape.heads + shape.keyValueHeads, headDimension: d)
        let attended = b.linear(b.attention(joint, shape), [o], residual: true)
        let middle = b.add(x, b.sublayerNorm(attended, name + "post_attention_layernorm.weight", epsilon: epsilon, weightOffset: 1))

        let normed = b.norm(middle, name + "pre_feedforward_layernorm.weight", epsilon: epsilon, weightOffset: 1)
        let transformed = b.linear(b.gatedActivation(b.linear(normed, [gate, up]), activation), [down], residual: true)
        return b.add(middle, b.sublayerNorm(transformed, name + "post_feedforward_layernorm.weight", epsilon: epsilon, weightOffset: 1))
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
            .value("rope_theta", "rope.freq_base", .real, ifAbsent: .value(10000.0)),
            .rotatedDimensions("rope.dimension_count"),
        ],
        tensors: GGUFFormat.attentionTensors(norms: .plus(1)) + [
            TensorRule("lm_head", "output"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.post_attention_norm", .plus(1)),
            TensorRule("model.layers.{layer}.pre_feedforward_layernorm", "blk.{layer}.ffn_norm", .plus(1)),
            TensorRule("model.layers.{layer}.post_feedforward_layernorm", "blk.{layer}.post_ffw_norm", .plus(1)),
        ])
}
