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

extension BaseStorage {
    /// Bytes that a matrix [rows, columns] takes in this form: what the store itself will report.
    ///
    /// - Parameter stored: bytes that the file's own form takes; asked for by `.stored` alone.
    package func bytes(rows: Int, columns: Int, stored: @autoclosure () -> Int = 0) -> Int {
        switch self {
        case .stored: stored()
        case .nf4: NF4.Layout(count: rows * columns).bytes
        case .f16, .bf16: rows * columns * 2
        case .f32: rows * columns * 4
        }
    }
}
