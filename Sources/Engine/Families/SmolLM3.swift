import LorikeetGround
import LorikeetJSON

/// SmolLM 3 (Bakouch et al. 2025): Llama's block, without rotation in every fourth layer (NoPE, Yang et al. 2025, arXiv:2501.18795).
struct SmolLM3: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    /// Whether each layer rotates q and k.
    let rotates: [Bool]
    let rope: RoPETable

    /// Defaults are those of transformers' `SmolLM3Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let bias = try reader.flag("attention_bias", default: false)
        let decoder = try Decoder(
            &reader,
            .init(
                sizes: .init(
                    hidden: 2048, intermediate: 11008, layers: 36, heads: 16, keyValueHeads: .number(4), headDimension: .derived,
                    vocabulary: 128_256, maximumPositions: 32768),
                epsilon: 1e-6, activation: "silu", tied: true),
            biases: .init(queryKeyValue: bias, output: bias, mlp: try reader.flag("mlp_bias", default: false)))
        self.decoder = decoder
        let layers = decoder.sizes.layers
        let rotates: [Bool]
        if let list = try reader.sizes("no_rope_layers", in: 0...1) {
            rotates = list.map { $0 == 1 }
        } else {
            let interval = try reader.size("no_rope_layer_interval", default: 4, in: ConfigurationRange.layers)
            rotates = (0..<layers).map { ($0 + 1) % interval != 0 }
        }
        reader.forget("no_rope_layer_interval")
        guard rotates.count == layers else {
            throw reader.refusal("no_rope_layers", "has \(rotates.count) entries", "one for each of \(layers) layers, 1 where it rotates")
        }
        reader.note("no_rope_layers", .array(rotates.map { $0 ? 1 : 0 }))
        let slides = try reader.flag("use_sliding_window", default: false)
        let window = try reader.optionalSize("sliding_window", default: nil, in: ConfigurationRange.positions)
        let windows = try LayerTypes.windows(&reader, layers: layers, window: window) { slides && window != nil && !rotates[$0] }
        if !slides, windows.contains(where: { $0 != nil }) {
            throw reader.refusal("use_sliding_window", "is false", "true: layer_types has sliding layers")
        }
        attention = windows.map { decoder.attention(window: $0) }
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 2_000_000)))
        self.rotates = rotates
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            block.forward(x, attention[block.layer], &b) { if rotates[block.layer] { block.rope($0, rope, &$1) } }
        }
    }
}

// MARK: file formats

extension SmolLM3 {
    static let huggingFace = HuggingFaceFormat(
        modelType: "smollm3", architecture: "SmolLM3ForCausalLM",
        inertKeys: [
            Ignored("no_rope_layer_interval", "no_rope_layers, where it is there, says which layers rotate"),
            Ignored("max_window_layers", "a key of Qwen's configuration; layer_types and use_sliding_window say which layers have a window"),
            Ignored("pretraining_tp", "in how many slices products were computed; the same sums"),
        ])

    /// llama.cpp's `SmolLM3Model` (convert_hf_to_gguf.py). It takes every fourth layer for one without rotation, and writes no window.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "smollm3",
        metadata: GGUFFormat.decoderMetadata(activation: "silu") + [
            .zeroEvery("no_rope_layers", 4),
            .tensor("tie_word_embeddings", "output.weight", present: false),
            .tensor("attention_bias", "blk.0.attn_q.bias", present: true),
            .tensor("mlp_bias", "blk.0.ffn_up.bias", present: true),
        ] + GGUFFormat.ropeMetadata(scaling: true),
        tensors: GGUFFormat.decoderTensors(interleaved: true) + [
            TensorRule("model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm")
        ],
        ropeFactors: "rope_freqs.weight",
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
