import LorikeetGround
import LorikeetJSON

/// OLMo 3 (OLMo Team 2025): OLMo 2's block, with a window in three of four layers. The scaling of the rotation holds for the layers
/// without a window only.
struct OLMo3: DecoderFamily {
    let decoder: Decoder
    /// One a layer: they differ in their windows.
    let attention: [AttentionShape]
    /// Of layers without a window, and of those with one.
    let (rope, windowRoPE): (RoPETable, RoPETable)

    /// Defaults are those of transformers' `Olmo3Config`.
    init(_ reader: inout ConfigurationReader) throws {
        let decoder = try Decoder(olmo: &reader)
        self.decoder = decoder
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        attention = try LayerTypes.windows(&reader, layers: decoder.sizes.layers, window: window) { ($0 + 1) % 4 != 0 }.map {
            decoder.attention(window: $0)
        }
        windowRoPE = RoPETable(
            try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 500_000, scalingKey: nil, layerType: "sliding_attention")))
        rope = RoPETable(try RoPEConfiguration.read(&reader, decoder.sizes, .init(theta: 500_000, layerType: "full_attention")))
    }

    func forward(_ b: inout ProgramBuilder) {
        decoder.forward(&b) { block, x, b in
            let shape = attention[block.layer]
            return block.forward(x, shape, &b, norms: .after) { joint, b in
                block.normFullWidth(joint, &b)
                block.rope(joint, shape.window == nil ? rope : windowRoPE, &b)
            }
        }
    }
}

// MARK: file formats

extension OLMo3 {
    static let huggingFace = HuggingFaceFormat(modelType: "olmo3", architecture: "Olmo3ForCausalLM")

    /// llama.cpp's `Olmo2Model` (convert_hf_to_gguf.py); the window distinguishes OLMo 3 from OLMo 2.
    static let gguf: GGUFFormat? = GGUFFormat(
        architecture: "olmo2", distinction: ("attention.sliding_window", true),
        metadata: GGUFFormat.olmoMetadata + [
            .windows("attention.sliding_window", pattern: "attention.sliding_window_pattern", every: 4),
            .repeats("rope_theta", "rope.freq_base_swa", .real),
        ],
        tensors: GGUFFormat.olmoTensors,
        inertMetadata: [Ignored("rope.scaling.finetuned", "whether the scaling was trained; it is applied either way")])
}
