import LorikeetModelFiles

/// A kind of GGUF file, by the type that most of its matrices have; `_M` gives some matrices more bits.
package enum GGUFForm: String, Sendable, CaseIterable {
    case f32, f16, bf16
    case q8_0, q4_0, q5_0, q5_1
    case q6_K = "q6_k"
    case q4_K_M = "q4_k_m"
    case q5_K_M = "q5_k_m"

    /// The type of most matrices.
    package var type: ElementType {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        case .q8_0: .q8_0
        case .q4_0: .q4_0
        case .q5_0: .q5_0
        case .q5_1: .q5_1
        case .q6_K: .q6_K
        case .q4_K_M: .q4_K
        case .q5_K_M: .q5_K
        }
    }

    /// `general.file_type`: llama.cpp's `llama_ftype`.
    package var fileType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q8_0: 7
        case .q5_0: 8
        case .q5_1: 9
        case .q4_K_M: 15
        case .q5_K_M: 17
        case .q6_K: 18
        case .bf16: 32
        }
    }

    package var isQuantised: Bool { type.blockElements > 1 }

    /// `general.quantization_version`: the version of the blocks' layouts. Written beside quantised types.
    package static let quantisationVersion: UInt32 = 2
}

/// Which type each tensor of a GGUF file gets: what llama.cpp's quantiser chooses without an importance matrix (`llama_tensor_get_type`
/// in llama-quant.cpp), for dense decoders.
package struct QuantisationMix: Sendable {
    private let form: GGUFForm
    private let layers: Int
    /// Whether the file has no head of its own, so that the embedding is used as the head too.
    private let isTied: Bool
    /// Eight query heads share each value head in these models, which makes more bits for the values cheap.
    private let is70B: Bool

    /// - Parameters:
    ///   - architecture: `general.architecture`, e.g. `llama`.
    ///   - heads: query heads of a layer.
    ///   - isTied: whether the file has no `output.weight`.
    package init(form: GGUFForm, architecture: String, layers: Int, heads: Int, keyHeads: Int, isTied: Bool) {
        (self.form, self.layers, self.isTied) = (form, layers, isTied)
        // llama.cpp recognises these models by their number of layers.
        is70B = layers == 80 && (architecture == "llama" && heads != keyHeads || architecture == "qwen2")
    }

    /// The type of a tensor.
    ///
    /// - Parameters:
    ///   - name: in the file, e.g. `blk.0.attn_v.weight`.
    ///   - shape: row-major, last index fastest.
    package func type(of name: String, shape: [Int]) -> ElementType {
        // Norms, biases and frequencies stay as they are.
        guard shape.count >= 2, name.hasSuffix("weight"), !name.contains("_norm.weight") else { return .f32 }
        guard form.isQuantised, let columns = shape.last else { return form.type }
        return Self.fitting(mixed(name, columns), columns)
    }

    /// The type that the mix chooses before the length of the rows is considered.
    private func mixed(_ name: String, _ columns: Int) -> ElementType {
        let type = form.type
        if name == "output.weight" || isTied && name == "token_embd.weight" {
            return columns % type.blockElements != 0 || type == .q8_0 ? .q8_0 : .q6_K
        }
        guard form == .q4_K_M || form == .q5_K_M, let layer = Self.layer(of: name) else { return type }
        if name.contains("attn_v.weight") || name.contains("attn_qkv.weight") {
            if hasMoreBits(layer) { return .q6_K }
            return is70B && type == .q4_K ? .q5_K : type
        }
        return name.contains("ffn_down") && hasMoreBits(layer) ? .q6_K : type
    }

    /// The first and the last eighth of the layers, and every third between.
    private func hasMoreBits(_ layer: Int) -> Bool {
        layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
    }

    /// N of `blk.N.…`
    private static func layer(of name: String) -> Int? {
        let parts = name.split(separator: ".")
        return parts.count > 1 && parts[0] == "blk" ? Int(parts[1]) : nil
    }

    /// The type, or, where its blocks of 256 do not divide the row, llama.cpp's replacement for it with blocks of 32, or float16.
    private static func fitting(_ type: ElementType, _ columns: Int) -> ElementType {
        guard columns % type.blockElements != 0 else { return type }
        let replacement: ElementType =
            switch type {
            case .q4_K: .q5_0
            case .q5_K: .q5_1
            case .q6_K: .q8_0
            default: type
            }
        return columns % replacement.blockElements == 0 ? replacement : .f16
    }
}
