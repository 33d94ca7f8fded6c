extension StringProtocol {
    /// The text without the white space at its ends.
    package var trimmed: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return String(self[first...last])
    }
}

extension String {
    /// What stands behind the last full stop: `q_proj` of `model.layers.0.self_attn.q_proj`.
    package var lastPart: String { utf8.lastIndex(of: UInt8(ascii: ".")).map { String(self[utf8.index(after: $0)...]) } ?? self }

    /// The text with spaces behind it up to `width` characters, and at least one: a cell of a table.
    package func padded(to width: Int) -> String { self + String(repeating: " ", count: Swift.max(1, width - count)) }

    /// The text as one word of a shell's command: as it stands where every character is plain to a shell, else in quotes. A text with
    /// unprintable characters (see `printable`) gets bash's `$'…'`, in which they stand as escapes: what is shown is safe and still the same word.
    package var shellWord: String {
        if wholeMatch(of: /[A-Za-z0-9_\-.\/:,=@+%]+/) != nil { return self }
        guard unicodeScalars.contains(where: \.isUnprintable) else { return "'" + replacing("'", with: #"'\''"#) + "'" }
        var word = "$'"
        for scalar in unicodeScalars {
            switch scalar {
            case "\n": word += #"\n"#
            case "\\", "'": word += "\\" + String(scalar)
            case _ where scalar.isUnprintable:
                let digits = String(scalar.value, radix: 16, uppercase: true)
                word += (digits.count > 4 ? #"\U"# : #"\u"#) + String(repeating: "0", count: (digits.count > 4 ? 8 : 4) - digits.count) + digits
            default: word.unicodeScalars.append(scalar)
            }
        }
        return word + "'"
    }
}
