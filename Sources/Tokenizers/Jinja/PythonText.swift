/// Strings as Python sees them: sequences of scalars, compared scalar by scalar (Swift's own compares characters).
enum PythonText {
    typealias Scalars = String.UnicodeScalarView

    static func equal(_ a: String, _ b: String) -> Bool {
        // Equal bytes are canonically equivalent; Swift's comparison is fast, and settles all that differ.
        a.utf8.count == b.utf8.count && a == b && a.utf8.elementsEqual(b.utf8)
    }

    static func precedes(_ a: String, _ b: String) -> Bool {
        a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
    }

    /// `text * count`: as fast as memory is written, whereas `String(repeating:count:)` appends each copy by itself.
    static func repeated(_ text: String, _ count: Int) -> String {
        let piece = Array(text.utf8)
        guard count > 1, !piece.isEmpty else { return count == 1 ? text : "" }
        let total = piece.count * count
        return String(unsafeUninitializedCapacity: total) { bytes in
            _ = bytes.initialize(from: piece)
            var written = piece.count
            while written < total {
                let next = min(written, total - written)
                _ = UnsafeMutableBufferPointer(rebasing: bytes[written..<written + next]).initialize(from: UnsafeBufferPointer(rebasing: bytes[..<next]))
                written += next
            }
            return total
        }
    }

    /// White space of `str.strip()` and `str.split()`.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        if ("!"..."~").contains(scalar) { return false }
        return scalar.properties.isWhitespace || ("\u{1C}"..."\u{1F}").contains(scalar)
    }

    static func strip(_ text: String, _ characters: String?, left: Bool = true, right: Bool = true) -> String {
        var slice = text.unicodeScalars[...]
        let set = characters.map { Set($0.unicodeScalars) }
        func stripped(_ scalar: Unicode.Scalar) -> Bool { set.map { $0.contains(scalar) } ?? isSpace(scalar) }
        if left { while let first = slice.first, stripped(first) { slice.removeFirst() } }
        if right { while let last = slice.last, stripped(last) { slice.removeLast() } }
        return String(slice)
    }

    /// Calls `found` with the byte offsets of the occurrences of `needle`, not overlapping, from the left. Linear in the text (Knuth, Morris and Pratt).
    private static func forEachOccurrence(of needle: [UInt8], in text: [UInt8], limit: Int, _ found: (Int) -> Void) {
        guard !needle.isEmpty, needle.count <= text.count, limit > 0 else { return }
        // Of every prefix of the needle: the length of its longest proper prefix that is its suffix too.
        var borders = [UInt32](repeating: 0, count: needle.count)
        var length = 0
        for index in 1..<max(1, needle.count) {
            while length > 0, needle[index] != needle[length] { length = Int(borders[length - 1]) }
            if needle[index] == needle[length] { length += 1 }
            borders[index] = UInt32(truncatingIfNeeded: length)
        }
        var (matched, count) = (0, 0)
        for (index, byte) in text.enumerated() {
            while matched > 0, byte != needle[matched] { matched = Int(borders[matched - 1]) }
            if byte == needle[matched] { matched += 1 }
            guard matched == needle.count else { continue }
            found(index + 1 - needle.count)
            count += 1
            if count == limit { return }
            matched = 0
        }
    }

    private static func firstOccurrence(of needle: [UInt8], in text: [UInt8]) -> Int? {
        var first: Int?
        forEachOccurrence(of: needle, in: text, limit: 1) { first = $0 }
        return first
    }

    /// The scalar at a position, from the end where it is negative.
    static func scalar(of text: String, at position: Int) -> String? {
        let scalars = text.unicodeScalars
        if position >= 0 {
            guard position < text.utf8.count,
                let index = scalars.index(scalars.startIndex, offsetBy: position, limitedBy: scalars.endIndex), index < scalars.endIndex
            else { return nil }
            return String(scalars[index])
        }
        guard position >= -text.utf8.count,
            let index = scalars.index(scalars.endIndex, offsetBy: position, limitedBy: scalars.startIndex)
        else { return nil }
        return String(scalars[index])
    }

    /// Scalar offset of the last occurrence.
    static func findLast(_ text: String, _ needle: String) -> Int? {
        if needle.isEmpty { return text.unicodeScalars.count }
        // The last of overlapping occurrences too: search the reversed texts.
        let bytes = Array(text.utf8)
        guard let fromEnd = firstOccurrence(of: needle.utf8.reversed(), in: bytes.reversed()) else { return nil }
        return bytes[0..<(bytes.count - fromEnd - needle.utf8.count)].reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }

    static func contains(_ text: String, _ needle: String) -> Bool { needle.isEmpty || find(text, needle) != nil }

    /// Scalar offset of the first occurrence.
    static func find(_ text: String, _ needle: String) -> Int? {
        if needle.isEmpty { return 0 }
        let bytes = Array(text.utf8)
        guard let offset = firstOccurrence(of: Array(needle.utf8), in: bytes) else { return nil }
        return bytes[0..<offset].reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }

    static func count(_ text: String, _ needle: String) -> Int {
        if needle.isEmpty { return text.unicodeScalars.count + 1 }
        var count = 0
        forEachOccurrence(of: Array(needle.utf8), in: Array(text.utf8), limit: .max) { _ in count += 1 }
        return count
    }

    static func replace(_ text: String, _ old: String, _ new: String, limit: Int = .max) -> String {
        if old.isEmpty { return interleaved(text, new, limit: limit) }
        let bytes = Array(text.utf8)
        var (result, start): ([UInt8], Int) = ([], 0)
        forEachOccurrence(of: Array(old.utf8), in: bytes, limit: limit) { offset in
            result += bytes[start..<offset]
            result += new.utf8
            start = offset + old.utf8.count
        }
        return String(decoding: result + bytes[start...], as: UTF8.self)
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
        forEachOccurrence(of: needle, in: bytes, limit: limit) { offset in
            parts.append(String(decoding: bytes[start..<offset], as: UTF8.self))
            start = offset + needle.count
        }
        parts.append(String(decoding: bytes[start...], as: UTF8.self))
        return parts
    }

    /// `rsplit(separator, limit)`: the last `limit` occurrences cut.
    static func splitFromRight(_ text: String, separator: String, limit: Int) -> [String] {
        let bytes = Array(text.utf8)
        let needle = Array(separator.utf8)
        var parts: [String] = []
        var end = bytes.count
        forEachOccurrence(of: needle.reversed(), in: bytes.reversed(), limit: limit) { fromEnd in
            let start = bytes.count - fromEnd - needle.count
            parts.append(String(decoding: bytes[(start + needle.count)..<end], as: UTF8.self))
            end = start
        }
        parts.append(String(decoding: bytes[..<end], as: UTF8.self))
        return parts.reversed()
    }

    /// `split()`: at runs of white space, none at the ends.
    static func splitAtSpace(_ text: String, limit: Int = .max) -> [String] {
        var parts: [String] = []
        var rest = text.unicodeScalars[...]
        while true {
            rest = rest.drop(while: isSpace)
            if rest.isEmpty { return parts }
            if parts.count == limit { return parts + [String(rest)] }
            let word = rest.prefix { !isSpace($0) }
            parts.append(String(word))
            rest = rest[word.endIndex...]
        }
    }

    /// `rsplit(None, limit)`: the last `limit` words cut.
    static func splitAtSpaceFromRight(_ text: String, limit: Int) -> [String] {
        var parts: [String] = []
        var rest = text.unicodeScalars[...]
        while true {
            while let last = rest.last, isSpace(last) { rest.removeLast() }
            if rest.isEmpty { return parts.reversed() }
            if parts.count == limit { return [String(rest)] + parts.reversed() }
            var word: [Unicode.Scalar] = []
            while let last = rest.last, !isSpace(last) {
                word.append(last)
                rest.removeLast()
            }
            parts.append(String(String.UnicodeScalarView(word.reversed())))
        }
    }

    /// `splitlines`: cut at \n, \r, \r\n, \v, \f, the separators U+1C to U+1E, U+85, U+2028 and U+2029. By bytes: scalar by scalar, a text of 16 MB took 5 s.
    static func splitLines(_ text: String, keepingEnds: Bool = false) -> [String] {
        var text = text
        return text.withUTF8 { bytes in
            var lines: [String] = []
            var (start, i) = (0, 0)
            while i < bytes.count {
                let end = lineEnd(bytes, at: i)
                if end > 0 {
                    lines.append(String(decoding: bytes[start..<(keepingEnds ? i + end : i)], as: UTF8.self))
                    start = i + end
                }
                i += max(1, end)
            }
            if start < bytes.count { lines.append(String(decoding: bytes[start...], as: UTF8.self)) }
            return lines
        }
    }

    /// How many bytes of UTF-8 end a line at `i`; 0 where none does.
    private static func lineEnd(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
        func follow(_ expected: UInt8...) -> Bool { i + expected.count < bytes.count && zip(bytes[(i + 1)...], expected).allSatisfy { $0 == $1 } }
        switch bytes[i] {
        case 0x0D: return follow(0x0A) ? 2 : 1
        case 0x0A...0x0C, 0x1C...0x1E: return 1
        case 0xC2: return follow(0x85) ? 2 : 0
        case 0xE2: return follow(0x80, 0xA8) || follow(0x80, 0xA9) ? 3 : 0
        default: return 0
        }
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

    /// Runs of word characters, as Jinja's `wordcount` counts them.
    static func wordCount(_ text: String) -> Int {
        var count = 0
        var isInside = false
        for scalar in text.unicodeScalars {
            let isWord = scalar == "_" || CharacterClass.isLetter(CharacterClass.of(scalar)) || CharacterClass.isNumber(CharacterClass.of(scalar))
            if isWord, !isInside { count += 1 }
            isInside = isWord
        }
        return count
    }

    static func swapCase(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            result += scalar.properties.isUppercase ? scalar.properties.lowercaseMapping : scalar.properties.uppercaseMapping
        }
        return result
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

/// Python's slice `[from:to:step]`; the step is not 0.
struct PythonSlice {
    let from: Int?
    let to: Int?
    let step: Int

    /// The positions that are picked of `count`.
    func places(in count: Int) -> [Int] {
        func clamped(_ index: Int?, _ standard: Int) -> Int {
            guard let index else { return standard }
            let place = index < 0 ? Saturating.sum(index, count) : index
            return step > 0 ? min(max(place, 0), count) : min(max(place, -1), count - 1)
        }
        let first = clamped(from, step > 0 ? 0 : count - 1)
        let last = clamped(to, step > 0 ? count : -1)
        // Strides beyond the count all pick the first alone; stepping with them could overflow.
        return Array(stride(from: first, to: last, by: max(min(step, count + 1), -count - 1)))
    }

    func text(of text: String) -> String {
        // Text of ASCII alone: bytes are positions.
        if text.utf8.allSatisfy({ $0 < 0x80 }) {
            let bytes = Array(text.utf8)
            return String(decoding: places(in: bytes.count).map { bytes[$0] }, as: UTF8.self)
        }
        let scalars = Array(text.unicodeScalars)
        return String(String.UnicodeScalarView(places(in: scalars.count).map { scalars[$0] }))
    }
}
