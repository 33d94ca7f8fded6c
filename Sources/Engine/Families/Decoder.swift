/// What decoders have in common: the sizes and switches that `config.json` names alike, and a forward pass of blocks between the
/// embedding and the head. A family adds its blocks.
struct Decoder: Sendable {
    let sizes: DecoderSizes
    /// The epsilon of every norm.
    let epsilon: Float
    var activation: Activation
    let biases: Biases
    /// Whether the head's matrix is the embedding's.
    let tied: Bool
    /// Added to a norm's weight before it multiplies: 1 where files hold w for 1 + w.
    var weightOffset: Float = 0
    /// Multiplies the embedding's rows.
    var embeddingScale: Float = 1
    /// Multiplies what a sublayer adds to the residual stream.
    var residualScale: Float = 1
    /// Multiplies the logits, before their cap.
    var logitScale: Float = 1
    /// Logits are z -> cap * tanh(z / cap); nil leaves them.
    var logitCap: Float?

    /// Which linears of a block have a bias.
    struct Biases: Sendable, Equatable {
        var queryKeyValue = false
        var output = false
        var mlp = false
    }

    /// A family's defaults: those of its configuration class in transformers.
    struct Defaults {
        let sizes: DecoderSizes.Defaults
        let epsilon: Double
        var activationKey = "hidden_act"
        let activation: String
        let tied: Bool
    }

    /// - Parameter biases: which linears have one, where the family reads keys that say so.
    /// - Throws: exit 2 naming the key that is not supported or out of range.
    init(_ reader: inout ConfigurationReader, _ standard: Defaults, biases: Biases = Biases()) throws {
        sizes = try DecoderSizes.read(&reader, standard.sizes)
        epsilon = Float(try reader.number("rms_norm_eps", default: standard.epsilon, in: ConfigurationRange.epsilon))
        activation = try Activation.read(&reader, standard.activationKey, default: standard.activation)
        tied = try reader.flag("tie_word_embeddings", default: standard.tied)
        self.biases = biases
    }

    /// - Parameter scale: nil: 1 / sqrt(D).
    func attention(scale: Float? = nil, window: Int? = nil, softCap: Float? = nil) -> AttentionShape {
        AttentionShape(
            heads: sizes.heads, keyValueHeads: sizes.keyValueHeads, headDimension: sizes.headDimension,
            scale: scale ?? 1 / Float(sizes.headDimension).squareRoot(), window: window, softCap: softCap)
    }

    /// The embedding, the blocks, the last norm and the head.
    ///
    /// - Parameter block: appends one block that reads the residual stream x and returns the stream behind it.
    func forward(_ b: inout ProgramBuilder, block: (_ block: DecoderBlock, _ x: ValueID, _ b: inout ProgramBuilder) -> ValueID) {
        let table = "model.embed_tokens.weight"
        var x = b.embedding(table, vocabulary: sizes.vocabulary, columns: sizes.hidden, scale: embeddingScale)
        for layer in 0..<sizes.layers { b.block { x = block(DecoderBlock(decoder: self, layer: layer), x, &$0) } }
        let y = b.norm(x, "model.norm.weight", epsilon: epsilon, weightOffset: weightOffset)
        b.head(y, tied ? table : "lm_head.weight", vocabulary: sizes.vocabulary, softCap: logitCap, logitScale: logitScale)
    }
}

/// The tensors of one block, under the names of Hugging Face's files, and the parts that all decoders compute alike.
struct DecoderBlock: Sendable {
    let decoder: Decoder
    let layer: Int

    private var sizes: DecoderSizes { decoder.sizes }

    /// The full name of a tensor or module of this block.
    func name(_ part: String) -> String { "model.layers.\(layer).\(part)" }

    /// q, k and v, side by side in one product.
    var queryKeyValue: [LinearWeight] {
        [("q_proj", sizes.heads), ("k_proj", sizes.keyValueHeads), ("v_proj", sizes.keyValueHeads)].map {
            LinearWeight(name("self_attn." + $0), rows: $1 * sizes.headDimension, columns: sizes.hidden, hasBias: decoder.biases.queryKeyValue)
        }
    }

    /// q, k and v as one matrix of the file.
    var fusedQueryKeyValue: [LinearWeight] {
        let rows = (sizes.heads + 2 * sizes.keyValueHeads) * sizes.headDimension
        return [LinearWeight(name("self_attn.qkv_proj"), rows: rows, columns: sizes.hidden)]
    }

    /// The matrix behind attention.
    var output: LinearWeight {
        LinearWeight(name("self_attn.o_proj"), rows: sizes.hidden, columns: sizes.heads * sizes.headDimension, hasBias: decoder.biases.output)
    }

    /// Normalises each head of q and k in the joint buffer q|k|v, in place.
    func normHeads(_ joint: ValueID, _ b: inout ProgramBuilder) {
        let d = sizes.headDimension
        b.normInPlace(
            joint,
            [
                NormPart(weight: name("self_attn.q_norm.weight"), groups: sizes.heads, columns: d),
                NormPart(weight: name("self_attn.k_norm.weight"), firstColumn: sizes.heads * d, groups: sizes.keyValueHeads, columns: d),
            ], epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// Normalises all of q, and all of k, in the joint buffer q|k|v, in place.
    func normFullWidth(_ joint: ValueID, _ b: inout ProgramBuilder) {
        let (query, key) = (sizes.heads * sizes.headDimension, sizes.keyValueHeads * sizes.headDimension)
        b.normInPlace(
            joint,
            [
                NormPart(weight: name("self_attn.q_norm.weight"), columns: query),
                NormPart(weight: name("self_attn.k_norm.weight"), firstColumn: query, columns: key),
            ], epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// Rotates q and k of the joint buffer q|k|v.
    func rope(_ joint: ValueID, _ table: RoPETable, interleaved: Bool = false, _ b: inout ProgramBuilder) {
        b.rope(joint, table, heads: sizes.heads + sizes.keyValueHeads, headDimension: sizes.headDimension, interleaved: interleaved)
    }

    /// Where a block has norms: before and after attention and the gated MLP.
    struct Norms: Sendable {
        var beforeAttention: String?
        var afterAttention: String?
        var beforeMLP: String?
        var afterMLP: String?

        /// Llama's: before each sublayer.
        static let before = Norms(beforeAttention: "input_layernorm", beforeMLP: "post_attention_layernorm")
        /// Gemma 2's: before and after each sublayer.
        static let around = Norms(
            beforeAttention: "input_layernorm", afterAttention: "post_attention_layernorm", beforeMLP: "pre_feedforward_layernorm",
            afterMLP: "post_feedforward_layernorm")
        /// OLMo 2's: after each sublayer.
        static let after = Norms(afterAttention: "post_attention_layernorm", afterMLP: "post_feedforward_layernorm")
    }

    /// The block: x + attention, then the sum + gated MLP, each with its norms; the residual stream behind it.
    ///
    /// - Parameters:
    ///   - fused: q, k and v are one matrix of the file.
    ///   - fusedMLP: gate and up are one matrix of the file, gate first.
    ///   - prepare: what happens to the joint buffer q|k|v before attention.
    func forward(
        _ x: ValueID, _ shape: AttentionShape, _ b: inout ProgramBuilder, norms: Norms = .before, fused: Bool = false, fusedMLP: Bool = false,
        prepare: (ValueID, inout ProgramBuilder) -> Void
    ) -> ValueID {
        let joint = b.linear(before(x, norms.beforeAttention, &b), fused ? fusedQueryKeyValue : queryKeyValue)
        prepare(joint, &b)
        let attended = after(b.linear(b.attention(joint, shape), [output], residual: true), norms.afterAttention, &b)
        let middle = b.add(x, attended, scale: decoder.residualScale)
        let transformed = after(gatedMLP(before(middle, norms.beforeMLP, &b), fused: fusedMLP, &b), norms.afterMLP, &b)
        return b.add(middle, transformed, scale: decoder.residualScale)
    }

    /// What a sublayer reads of the residual stream.
    private func before(_ x: ValueID, _ weight: String?, _ b: inout ProgramBuilder) -> ValueID {
        guard let weight else { return b.narrowed(x) }
        return b.norm(x, name(weight + ".weight"), epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// What a sublayer adds to the residual stream.
    private func after(_ x: ValueID, _ weight: String?, _ b: inout ProgramBuilder) -> ValueID {
        guard let weight else { return x }
        return b.sublayerNorm(x, name(weight + ".weight"), epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// down(activation(gate(x)) * up(x)): [T, C] in the residual stream's type.
    private func gatedMLP(_ x: ValueID, fused: Bool, _ b: inout ProgramBuilder) -> ValueID {
        let (rows, bias) = (sizes.intermediate, decoder.biases.mlp)
        let gateUp =
            fused
            ? [LinearWeight(name("mlp.gate_up_proj"), rows: 2 * rows, columns: sizes.hidden, hasBias: bias)]
            : ["gate_proj", "up_proj"].map { LinearWeight(name("mlp." + $0), rows: rows, columns: sizes.hidden, hasBias: bias) }
        let down = LinearWeight(name("mlp.down_proj"), rows: sizes.hidden, columns: rows, hasBias: bias)
        return b.linear(b.gatedActivation(b.linear(x, gateUp), decoder.activation), [down], residual: true)
    }
}

/// A family whose forward pass is a decoder's.
protocol DecoderFamily: ModelFamily {
    var decoder: Decoder { get }
}

extension DecoderFamily {
    package var vocabularySize: Int { decoder.sizes.vocabulary }
    package var hiddenSize: Int { decoder.sizes.hidden }
}
