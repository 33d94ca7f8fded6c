import LorikeetModelFiles

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
    /// - Parameter stored: the file's own type; `.stored` alone asks for it.
    /// - Returns: a size too large to count is as many bytes as no machine has (2^50), for the shape may come from a
    ///   configuration that nothing has checked against a file.
    package func bytes(rows: Int, columns: Int, stored: ElementType) -> Int {
        let tooMany = 1 << 50
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        guard !overflow, rows >= 0, columns >= 0, count < tooMany else { return tooMany }
        switch self {
        case .stored where stored == .nf4: return NF4.Layout(count: count).bytes
        case .stored: return stored.byteCount(shape: [rows, columns]) ?? tooMany
        case .nf4: return NF4.Layout(count: count).bytes
        case .f16, .bf16: return count * 2
        case .f32: return count * 4
        }
    }
}
