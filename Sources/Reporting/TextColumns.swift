extension Character {
    /// Columns that a terminal gives the character: 2 for wide ones (East Asian scripts, emoji), 0 for combining marks alone, else 1. A sequence
    /// such as a letter with accents, or a family of emoji, counts as its base.
    package var columns: Int {
        guard let first = unicodeScalars.first else { return 0 }
        if first.value < 0x300 { return 1 }
        // U+FE0F asks for the emoji form of what may also be text.
        if unicodeScalars.dropFirst().contains(where: { $0.value == 0xFE0F }) { return 2 }
        return first.columns
    }
}

extension Unicode.Scalar {
    fileprivate var columns: Int {
        switch properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: break
        }
        // Vowels and final consonants of Hangul join the syllable before them.
        if (0x1160...0x11FF).contains(value) { return 0 }
        return properties.isEmojiPresentation || Self.wide.contains { $0.contains(value) } ? 2 : 1
    }

    /// Blocks of scripts whose characters are wide in Unicode's EastAsianWidth, emoji aside.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2329...0x232A, 0x2E80...0x303E, 0x3041...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3, 0xF900...0xFAFF,
        0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18DFF, 0x1AFF0...0x1B2FF, 0x1D300...0x1D376, 0x1F200...0x1F265,
        0x20000...0x3FFFD,
    ]
}

extension String {
    /// Columns that a terminal gives the text, which has no control characters.
    package var columns: Int { reduce(0) { $0 + $1.columns } }

    /// The beginning of the text that fits into `limit` columns; a cut is shown by an ellipsis.
    package func fitted(to limit: Int) -> String {
        guard columns > limit else { return self }
        guard limit > 0 else { return "" }
        var (kept, used) = ("", 0)
        for character in self {
            guard used + character.columns <= limit - 1 else { break }
            used += character.columns
            kept.append(character)
        }
        return kept + "…"
    }
}
