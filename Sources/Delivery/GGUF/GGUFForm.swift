import LorikeetModelFiles

/// A kind of GGUF file, by the type that most of its matrices have.
package enum GGUFForm: String, Sendable, CaseIterable {
    case f32, f16, bf16

    /// The type of most matrices.
    package var type: ElementType {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        }
    }

    /// `general.file_type`: llama.cpp's `llama_ftype`.
    package var fileType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .bf16: 32
        }
    }

    package var isQuantised: Bool { type.blockElements > 1 }

    /// `general.quantization_version`: the version of the blocks' layouts.
    package static let quantisationVersion: UInt32 = 2
}
