extension Unicode.Scalar {
    /// Whether a terminal would act on the character, or show nothing for it: control characters (escape sequences begin with one), line
    /// and paragraph separators, direction marks, and what Unicode calls default-ignorable (zero-width spaces, tags). A text that holds one
    /// can look like another text. Joiners and variation selectors are printable: emoji and several scripts need them.
    package var isUnprintable: Bool {
        switch value {
        case 0x20...0x7E: false
        case 0...0x1F, 0x7F...0x9F, 0x2028, 0x2029: true
        case 0x200C, 0x200D, 0xFE00...0xFE0F, 0xE0100...0xE01EF: false
        default: properties.isDefaultIgnorableCodePoint
        }
    }
}

extension String {
    /// The text as it may be shown: unprintable characters stand as escapes, such as `\u{1B}`. Text from files and models is untrusted: a
    /// terminal would obey an escape sequence in it and hide what was printed before.
    ///
    /// - Parameter lines: keep line feeds; otherwise they become `\n`. Tabs always stay.
    package func printable(lines: Bool = true) -> String {
        guard unicodeScalars.contains(where: \.isUnprintable) else { return self }
        var shown = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            switch scalar {
            case "\t": shown.append(scalar)
            case "\n" where lines: shown.append(scalar)
            case "\n": shown.append(contentsOf: #"\n"#.unicodeScalars)
            case _ where scalar.isUnprintable: shown.append(contentsOf: "\\u{\(String(scalar.value, radix: 16, uppercase: true))}".unicodeScalars)
            default: shown.append(scalar)
            }
        }
        return String(shown)
    }
}
