/// What decoders have in common: the sizes and switches that `config.json` names alike, and a forward pass of blocks between the
/// embedding and the head. A family adds its blocks.
struct Decoder: Sendable {
    let sizes: DecoderSizes
    /// Of every norm.
    let epsilon: Float
    let activation: Activation
    let attentionBias: Bool
    /// The head multiplies by the embedding's matrix.
    let tied: Bool
    /// Biases of gate, up and down.
    var mlpBias = false
    /// Norms multiply by weight + this.
    var weightOffset: Float = 0
    /// Multiplies the embedding's rows.
    var embeddingScale: Float = 1
    /// Logits are z -> cap * tanh(z / cap); nil leaves them.
    var logitCap: Float?

    /// A family's defaults: those of its configuration class in transformers.
    struct Defaults {
        let sizes: DecoderSizes.Defaults
        var activationKey = "hidden_act"
        var activation = "silu"
        var tied = false
    }

    /// - Throws: exit 2 naming the key that is not supported or out of range.
    init(_ reader: inout ConfigurationReader, _ standard: Defaults) throws {
        sizes = try DecoderSizes.read(&reader, standard.sizes)
        epsilon = Float(try reader.number("rms_norm_eps", default: 1e-6, in: ConfigurationRange.epsilon))
        activation = try Activation.read(&reader, standard.activationKey, default: standard.activation)
        attentionBias = try reader.flag("attention_bias", default: false)
        tied = try reader.flag("tie_word_embeddings", default: standard.tied)
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
        b.head(y, tied ? table : "lm_head.weight", vocabulary: sizes.vocabulary, softCap: logitCap)
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
            LinearWeight(name("self_attn." + $0), rows: $1 * sizes.headDimension, columns: sizes.hidden, hasBias: decoder.attentionBias)
        }
    }

    /// The matrix behind attention.
    var output: LinearWeight {
        LinearWeight(name("self_attn.o_proj"), rows: sizes.hidden, columns: sizes.heads * sizes.headDimension, hasBias: decoder.attentionBias)
    }

    /// x, normalised: y [T, C] in the activations' type.
    func norm(_ x: ValueID, _ weight: String, _ b: inout ProgramBuilder) -> ValueID {
        b.norm(x, name(weight + ".weight"), epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// A sublayer's result, normalised before it is added to the residual stream.
    func sublayerNorm(_ x: ValueID, _ weight: String, _ b: inout ProgramBuilder) -> ValueID {
        b.sublayerNorm(x, name(weight + ".weight"), epsilon: decoder.epsilon, weightOffset: decoder.weightOffset)
    }

    /// Rotates q and k of the joint buffer q|k|v.
    func rope(_ joint: ValueID, _ table: RoPETable, _ b: inout ProgramBuilder) {
        b.rope(joint, table, heads: sizes.heads + sizes.keyValueHeads, headDimension: sizes.headDimension)
    }

    /// Attention over the joint buffer and the matrix behind it: [T, C] in the residual stream's type.
    func attention(_ joint: ValueID, _ shape: AttentionShape, _ b: inout ProgramBuilder) -> ValueID {
        b.linear(b.attention(joint, shape), [output], residual: true)
    }

    /// down(activation(gate(x)) * up(x)): [T, C] in the residual stream's type.
    func gatedMLP(_ x: ValueID, _ b: inout ProgramBuilder) -> ValueID {
        let gateUp = ["gate_proj", "up_proj"].map {
            LinearWeight(name("mlp." + $0), rows: sizes.intermediate, columns: sizes.hidden, hasBias: decoder.mlpBias)
        }
        let down = LinearWeight(name("mlp.down_proj"), rows: sizes.hidden, columns: sizes.intermediate, hasBias: decoder.mlpBias)
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
