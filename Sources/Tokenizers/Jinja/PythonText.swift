/// Strings as Python sees them: sequences of scalars, compared scalar by scalar (Swift's own compares characters).
enum PythonText {
    typealias Scalars = String.UnicodeScalarView

    static func equal(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

    static func precedes(_ a: String, _ b: String) -> Bool {
        a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
    }

    /// White space of `str.strip()` and `str.split()`.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || ("\u{1C}"..."\u{1F}").contains(scalar)
    }

    static func strip(_ text: String, _ characters: String?, left: Bool = true, right: Bool = true) -> String {
        var slice = text.unicodeScalars[...]
        let set = characters.map { Set($0.unicodeScalars) }
        func stripped(_ scalar: Unicode.Scalar) -> Bool { set.map { $0.contains(scalar) } ?? isSpace(scalar) }
        if left { while let first = slice.first, stripped(first) { slice.removeFirst() } }
        if right { while let last = slice.last, stripped(last) { slice.removeLast() } }
        return String(slice)
    }

    /// Byte offsets of the occurrences of `needle`, not overlapping, from the left.
    private static func occurrences(of needle: [UInt8], in text: [UInt8], limit: Int) -> [Int] {
        guard let first = needle.first, needle.count <= text.count else { return [] }
        var found: [Int] = []
        var at = 0
        while at + needle.count <= text.count, found.count < limit {
            if text[at] == first, text[at..<(at + needle.count)].elementsEqual(needle) {
                found.append(at)
                at += needle.count
            } else {
                at += 1
            }
        }
        return found
    }

    static func contains(_ text: String, _ needle: String) -> Bool { needle.isEmpty || find(text, needle) != nil }

    /// Scalar offset of the first occurrence.
    static func find(_ text: String, _ needle: String) -> Int? {
        if needle.isEmpty { return 0 }
        let bytes = Array(text.utf8)
        guard let offset = occurrences(of: Array(needle.utf8), in: bytes, limit: 1).first else { return nil }
        return bytes[0..<offset].reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }

    static func count(_ text: String, _ needle: String) -> Int {
        needle.isEmpty
            ? text.unicodeScalars.count + 1
            : occurrences(of: Array(needle.utf8), in: Array(text.utf8), limit: .max).count
    }

    static func replace(_ text: String, _ old: String, _ new: String, limit: Int = .max) -> String {
        if old.isEmpty { return interleaved(text, new, limit: limit) }
        return split(text, separator: old, limit: limit).joined(separator: new)
    }

    /// `replace("", new)`: before every scalar and at the end.
    private static func interleaved(_ text: String, _ new: String, limit: Int) -> String {
        var result = ""
        var left = limit
        for scalar in text.unicodeScalars {
            if left > 0 { result += new; left -= 1 }
            result.unicodeScalars.append(scalar)
        }
        return left > 0 ? result + new : result
    }

    static func split(_ text: String, separator: String, limit: Int = .max) -> [String] {
        let bytes = Array(text.utf8)
        let needle = Array(separator.utf8)
        var parts: [String] = []
        var start = 0
        for offset in occurrences(of: needle, in: bytes, limit: limit) {
            parts.append(String(decoding: bytes[start..<offset], as: UTF8.self))
            start = offset + needle.count
        }
        parts.append(String(decoding: bytes[start...], as: UTF8.self))
        return parts
    }

    /// `rsplit(separator, limit)`: the last `limit` occurrences cut.
    static func splitFromRight(_ text: String, separator: String, limit: Int) -> [String] {
        let parts = split(text, separator: separator)
        guard limit < parts.count - 1 else { return parts }
        let kept = parts.count - limit
        return [parts[0..<kept].joined(separator: separator)] + parts[kept...]
    }

    /// `split()`: at runs of white space, none at the ends.
    static func splitAtSpace(_ text: String, limit: Int = .max) -> [String] {
        var parts: [String] = []
        var rest = text.unicodeScalars[...]
        while true {
            rest = rest.drop(while: isSpace)
            if rest.isEmpty { return parts }
            if parts.count == limit { return parts + [strip(String(rest), nil, left: false)] }
            let word = rest.prefix { !isSpace($0) }
            parts.append(String(word))
            rest = rest[word.endIndex...]
        }
    }

    static func splitLines(_ text: String) -> [String] {
        var lines: [String] = []
        var line = Scalars()
        var last: Unicode.Scalar?
        for scalar in text.unicodeScalars {
            defer { last = scalar }
            if scalar == "\n", last == "\r" { continue }
            if "\n\r\u{B}\u{C}\u{1C}\u{1D}\u{1E}\u{85}\u{2028}\u{2029}".unicodeScalars.contains(scalar) {
                lines.append(String(line))
                line = Scalars()
            } else {
                line.append(scalar)
            }
        }
        if !line.isEmpty { lines.append(String(line)) }
        return lines
    }

    static func hasPrefix(_ text: String, _ prefix: String) -> Bool { text.utf8.starts(with: prefix.utf8) }

    static func hasSuffix(_ text: String, _ suffix: String) -> Bool {
        text.utf8.count >= suffix.utf8.count && text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }

    /// First scalar upper, the rest lower.
    static func capitalize(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return "" }
        return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
    }

    /// Words (runs of letters) with the first letter upper, the rest lower. Jinja's filter takes more separators than
    /// `str.title`, which begins a word after anything that is no letter.
    static func title(_ text: String, startsWord: (Unicode.Scalar) -> Bool) -> String {
        var result = ""
        var atStart = true
        for scalar in text.unicodeScalars {
            result += atStart ? scalar.properties.titlecaseMapping : scalar.properties.lowercaseMapping
            atStart = startsWord(scalar)
        }
        return result
    }

    /// Python's `repr` of a string.
    static func represented(_ text: String) -> String {
        let quote: Unicode.Scalar = text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"") ? "\"" : "'"
        var result = Scalars([quote])
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\": result.append(contentsOf: ["\\", scalar])
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\r": result.append(contentsOf: "\\r".unicodeScalars)
            case "\t": result.append(contentsOf: "\\t".unicodeScalars)
            case ..."\u{1F}", "\u{7F}"..."\u{A0}", "\u{AD}":
                let hex = String(scalar.value, radix: 16)
                result.append(contentsOf: ("\\x" + (hex.count < 2 ? "0" : "") + hex).unicodeScalars)
            default: result.append(scalar)
            }
        }
        result.append(quote)
        return String(result)
    }
}
