import LorikeetGround
import LorikeetJSON

/// Qwen 3 (Yang et al. 2025, arXiv:2505.09388): Llama's block with the heads of q and k normalised before they are rotated.
struct Qwen3: ModelFamily {
    let hiddenSize: Int
    let intermediate: Int
    let vocabularySize: Int
    let epsilon: Float
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    let rope: RoPETable
    let activation: Activation
    let attentionBias: Bool
    let tied: Bool

    /// Defaults are those of transformers' `Qwen3Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let sizes = try DecoderSizes.read(
            &reader,
            .init(
                hidden: 4096, intermediate: 22016, layers: 32, heads: 32, keyValueHeads: 32, headDimension: 128, vocabulary: 151_936,
                maximumPositions: 32768))
        hiddenSize = sizes.hidden
        intermediate = sizes.intermediate
        vocabularySize = sizes.vocabulary
        epsilon = Float(try reader.number("rms_norm_eps", default: 1e-6, in: ConfigurationRange.epsilon))
        let slides = try reader.flag("use_sliding_window", default: false)
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        let firstWindow = try reader.size("max_window_layers", default: 28, in: 0...ConfigurationRange.layers.upperBound)
        let windows = try LayerTypes.windows(&reader, layers: sizes.layers, window: slides ? window : nil) { slides && $0 >= firstWindow }
        attention = windows.map {
            AttentionShape(
                heads: sizes.heads, keyValueHeads: sizes.keyValueHeads, headDimension: sizes.headDimension,
                scale: 1 / Float(sizes.headDimension).squareRoot(), window: $0)
        }
        rope = RoPETable(try RoPEConfiguration.read(&reader, headDimension: sizes.headDimension))
        activation = try Activation.read(&reader, default: "silu")
        attentionBias = try reader.flag("attention_bias", default: false)
        tied = try reader.flag("tie_word_embeddings", default: false)
    }

    func forward(_ b: inout ProgramBuilder) {
        var x = b.embedding("model.embed_tokens.weight", vocabulary: vocabularySize, columns: hiddenSize)
        for (layer, shape) in attention.enumerated() { b.block { x = block("model.layers.\(layer).", x, shape, &$0) } }
        let y = b.norm(x, "model.norm.weight", epsilon: epsilon)
        b.head(y, tied ? "model.embed_tokens.weight" : "lm_head.weight", vocabulary: vocabularySize)
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

        let joint = b.linear(b.norm(x, name + "input_layernorm.weight", epsilon: epsilon), [q, k, v])
        b.normInPlace(
            joint,
            [
                NormPart(weight: name + "self_attn.q_norm.weight", groups: shape.heads, columns: d),
                NormPart(weight: name + "self_attn.k_norm.weight", firstColumn: shape.heads * d, groups: shape.keyValueHeads, columns: d),
            ], epsilon: epsilon)
        b.rope(joint, rope, heads: shape.heads + shape.keyValueHeads, headDimension: d)
        let attended = b.add(x, b.linear(b.attention(joint, shape), [o], residual: true))

        let normed = b.norm(attended, name + "post_attention_layernorm.weight", epsilon: epsilon)
        return b.add(attended, b.linear(b.gatedActivation(b.linear(normed, [gate, up]), activation), [down], residual: true))
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
            .value("rope_theta", "rope.freq_base", .real, ifAbsent: .value(10000.0)),
            .rotatedDimensions("rope.dimension_count"),
            .value("rope_scaling.rope_type", "rope.scaling.type", .text, ifAbsent: .omitted),
            .value("rope_scaling.factor", "rope.scaling.factor", .real, ifAbsent: .omitted),
            .value("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length", .whole, ifAbsent: .omitted),
        ],
        tensors: GGUFFormat.attentionTensors() + [
            TensorRule("lm_head", "output"),
            TensorRule("model.layers.{layer}.self_attn.q_norm", "blk.{layer}.attn_q_norm"),
            TensorRule("model.layers.{layer}.self_attn.k_norm", "blk.{layer}.attn_k_norm"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
        ],
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
