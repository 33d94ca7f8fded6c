/// How the frozen matrices of a base model are held in memory (the recipe's `base_storage`).
package enum BaseStorage: String, Sendable, CaseIterable {
    /// The file's own codes or element type, unchanged.
    case stored
    /// 4-bit NormalFloat in blocks of 64, block maxima quantised a second time (QLoRA, arXiv:2305.14314).
    case nf4
    /// IEEE half precision, rounded to nearest even.
    case f16
    /// bfloat16, rounded to nearest even.
    case bf16
    /// float32: no expansion is ever needed.
    case f32
}
