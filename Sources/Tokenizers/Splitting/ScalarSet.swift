/// A set of scalars by one of Unicode's properties, which the standard library looks up slowly: a bit for each scalar of the basic plane,
/// computed once.
struct ScalarSet: Sendable {
    private var bits = [UInt64](repeating: 0, count: 0x10000 / 64)
    private let belongs: @Sendable (Unicode.Scalar) -> Bool

    init(_ belongs: @escaping @Sendable (Unicode.Scalar) -> Bool) {
        self.belongs = belongs
        for value in UInt32(0)..<0x10000 {
            if let scalar = Unicode.Scalar(value), belongs(scalar) { bits[Int(value >> 6)] |= 1 << UInt64(value & 63) }
        }
    }

    init(_ categories: Set<Unicode.GeneralCategory>) { self.init { categories.contains($0.properties.generalCategory) } }

    /// False for surrogates and beyond Unicode's range.
    @inline(__always)
    func contains(_ value: UInt32) -> Bool {
        value < 0x10000 ? bits[Int(value >> 6)] >> UInt64(value & 63) & 1 == 1 : Unicode.Scalar(value).map(belongs) ?? false
    }

    /// `\s`
    static let spaces = ScalarSet(\.properties.isWhitespace)
    /// `\p{N}`
    static let numbers = ScalarSet([.decimalNumber, .letterNumber, .otherNumber])
    /// `\p{P}` and ASCII's symbols, as `char::is_ascii_punctuation` of Rust has them.
    static let punctuation = ScalarSet { scalar in
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation, .otherPunctuation:
            true
        default: scalar.isASCII && "$+<=>^`|~".unicodeScalars.contains(scalar)
        }
    }
    /// `\p{M}`
    static let marks = ScalarSet(markCategories)
    private static let markCategories: Set<Unicode.GeneralCategory> = [.nonspacingMark, .spacingMark, .enclosingMark]
    /// `\p{Mn}`
    static let nonspacingMarks = ScalarSet([.nonspacingMark])
    /// What BERT's normaliser takes for control characters, white space aside.
    static let controls = ScalarSet([.control, .format, .privateUse, .surrogate])
    /// `\w` of Rust's regular expressions.
    static let words = ScalarSet { scalar in
        if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
        let category = scalar.properties.generalCategory
        return category == .decimalNumber || category == .connectorPunctuation || markCategories.contains(category)
    }
}
