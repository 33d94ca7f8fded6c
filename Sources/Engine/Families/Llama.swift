import LorikeetGround
import LorikeetModelFiles

/// Llama (Touvron et al. 2023, arXiv:2302.13971) and what shares its blocks: pre-norm, rotary positions, grouped heads, SwiGLU.
struct Llama: ModelFamily {
    static let modelTypes = ["llama"]

    let hidden: Int
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

    init(_ c: ModelConfiguration) throws {
        hidden = c.hiddenSize
        intermediate = c.intermediateSize
        layers = c.layerCount
        vocabularySize = c.vocabularySize
        epsilon = Float(c.rmsNormEpsilon)
        attention = AttentionShape(
            heads: c.headCount, keyValueHeads: c.keyValueHeadCount, headDimension: c.headDimension,
            scale: 1 / Float(c.headDimension).squareRoot())
        rope = try RoPETable(c)
        activation = try c.activation()
        attentionBias = c.attentionBias
        mlpBias = c.mlpBias
        tied = c.tieWordEmbeddings
    }

    func forward(_ b: inout ProgramBuilder) {
        var x = b.embedding("model.embed_tokens.weight", vocabulary: vocabularySize, columns: hidden)
        for layer in 0..<layers { b.block { x = block("model.layers.\(layer).", x, &$0) } }
        let y = b.norm(x, "model.norm.weight", epsilon: epsilon)
        b.head(y, tied ? "model.embed_tokens.weight" : "lm_head.weight", vocabulary: vocabularySize)
    }

    private func block(_ name: String, _ x: ValueID, _ b: inout ProgramBuilder) -> ValueID {
        let d = attention.headDimension
        let q = LinearWeight(name + "self_attn.q_proj", rows: attention.heads * d, columns: hidden, hasBias: attentionBias)
        let k = LinearWeight(name + "self_attn.k_proj", rows: attention.keyValueHeads * d, columns: hidden, hasBias: attentionBias)
        let v = LinearWeight(name + "self_attn.v_proj", rows: attention.keyValueHeads * d, columns: hidden, hasBias: attentionBias)
        let o = LinearWeight(name + "self_attn.o_proj", rows: hidden, columns: attention.heads * d, hasBias: attentionBias)
        let gate = LinearWeight(name + "mlp.gate_proj", rows: intermediate, columns: hidden, hasBias: mlpBias)
        let up = LinearWeight(name + "mlp.up_proj", rows: intermediate, columns: hidden, hasBias: mlpBias)
        let down = LinearWeight(name + "mlp.down_proj", rows: hidden, columns: intermediate, hasBias: mlpBias)

        let normed = b.norm(x, name + "input_layernorm.weight", epsilon: epsilon)
        let joint = b.linear(normed, [q, k, v])
        b.rope(joint, rope, heads: attention.heads + attention.keyValueHeads, headDimension: d)
        let attended = b.add(x, b.linear(b.attention(joint, attention), [o], residual: true))

        let normed2 = b.norm(attended, name + "post_attention_layernorm.weight", epsilon: epsilon)
        return b.add(attended, b.linear(b.gatedActivation(b.linear(normed2, [gate, up]), activation), [down], residual: true))
    }
}
