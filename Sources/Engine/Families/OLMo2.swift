import LorikeetGround
import LorikeetJSON

/// OLMo 2 (OLMo Team 2024, arXiv:2501.00656): norms behind each sublayer instead of before it, and of all of q and all of k.
struct OLMo2: DecoderFamily {
    let decoder: Decoder
    let attention: AttentionShape
    let rope: RoPETable

    /// Defaults are those of transformers' `Olmo2Config`.
    init(_ reader: inout ConfigurationReader) throws {
        decoder = try Decoder(olmo: &reader)
        attention = decoder.attention()
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 10_000)))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention, &b, norms: .after) { joint, b in
                block.normFullWidth(joint, &b)
                block.rope(joint, rope, &b)
            }
        }
    }
}

extension Decoder {
    /// What `Olmo2Config` and `Olmo3Config` have alike.
    init(olmo reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        self = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 4096, intermediate: 11008, layers: 32, heads: 32, keyValueHeads: .derived, headDimension: .derived, vocabulary: 50304,
                    maximumPositions: 2048),
                epsilon: 1e-5, activation: "silu", tied: false),
            biases: .init(queryKeyValue: bias, output: bias))
    }
}

// MARK: file formats

extension OLMo2 {
    static let huggingFace = HuggingFaceFormat(modelType: "olmo2", architecture: "Olmo2ForCausalLM")

    /// llama.cpp's `Olmo2Model` (convert_hf_to_gguf.py), which writes OLMo 3 under the same name, with a window.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "olmo2", distinction: ("attention.sliding_window", false), metadata: GGUFFormat.olmoMetadata, tensors: GGUFFormat.olmoTensors,
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}

extension GGUFFormat {
    static let olmoMetadata: [MetadataRule] =
        decoderMetadata(activation: "silu") + [
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
        ] + ropeMetadata(scaling: true)

    static let olmoTensors: [TensorRule] =
        decoderTensors() + [
            TensorRule("model.layers.{layer}.self_attn.q_norm", "blk.{layer}.attn_q_norm"),
            TensorRule("model.layers.{layer}.self_attn.k_norm", "blk.{layer}.attn_k_norm"),
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.post_attention_norm"),
            TensorRule("model.layers.{layer}.post_feedforward_layernorm", "blk.{layer}.post_ffw_norm"),
        ]
}
