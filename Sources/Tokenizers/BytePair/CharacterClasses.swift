/// The classes of scalars that the patterns of byte-pair vocabularies know: `\p{L}`, `\p{N}`, `\s`, `[\r\n]`, the rest;
/// and the cases and marks that newer patterns tell apart. Unicode's general categories, as the regex engines use them.
enum CharacterClass {
    static let other: UInt8 = 0
    /// `\r` or `\n`: also white space.
    static let newline: UInt8 = 1
    /// `\s` (Unicode White_Space) other than `\r` and `\n`.
    static let space: UInt8 = 2
    /// `\p{M}`: not a letter
    static let mark: UInt8 = 3
    /// `\p{Nl}` and `\p{No}`: ½, Ⅷ
    static let number: UInt8 = 4
    /// `\p{Nd}`
    static let digit: UInt8 = 5
    /// `\p{Lu}` and `\p{Lt}`
    static let upper: UInt8 = 6
    /// `\p{Ll}`
    static let lower: UInt8 = 7
    /// `\p{Lm}` and `\p{Lo}`
    static let uncased: UInt8 = 8

    @inline(__always) static func isLetter(_ c: UInt8) -> Bool { c >= upper }
    /// `\p{N}`
    @inline(__always) static func isNumber(_ c: UInt8) -> Bool { c == number || c == digit }
    @inline(__always) static func isSpace(_ c: UInt8) -> Bool { c == newline || c == space }
    /// Neither white space nor letter nor number.
    @inline(__always) static func isOther(_ c: UInt8) -> Bool { c == other || c == mark }

    /// The class of every scalar of the basic plane (surrogates: other), made at first use (a few milliseconds).
    static let basicPlane: [UInt8] = (0..<0x10000).map { Unicode.Scalar(UInt32($0)).map(of) ?? other }

    static func of(_ scalar: Unicode.Scalar) -> UInt8 {
        if scalar == "\r" || scalar == "\n" { return newline }
        if scalar.properties.isWhitespace { return space }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .titlecaseLetter: return upper
        case .lowercaseLetter: return lower
        case .modifierLetter, .otherLetter: return uncased
        case .decimalNumber: return digit
        case .letterNumber, .otherNumber: return number
        case .nonspacingMark, .spacingMark, .enclosingMark: return mark
        default: return other
        }
    }
}

/// Reads scalars' classes from valid UTF-8.
struct ClassReader {
    let bytes: UnsafePointer<UInt8>
    /// `CharacterClass.basicPlane`.
    let classes: UnsafePointer<UInt8>

    /// The class of the scalar that starts at `index`, and how many bytes it has.
    @inline(__always)
    func read(_ index: Int) -> (class: UInt8, length: Int) {
        let first = bytes[index]
        if first < 0x80 { return (classes[Int(first)], 1) }
        return readBeyondASCII(index, first)
    }

    @inline(never)
    private func readBeyondASCII(_ index: Int, _ first: UInt8) -> (class: UInt8, length: Int) {
        let second = UInt32(bytes[index + 1] & 0x3F)
        if first < 0xE0 { return (classes[Int(UInt32(first & 0x1F) << 6 | second)], 2) }
        let third = UInt32(bytes[index + 2] & 0x3F)
        if first < 0xF0 { return (classes[Int(UInt32(first & 0x0F) << 12 | second << 6 | third)], 3) }
        let value = UInt32(first & 0x07) << 18 | second << 12 | third << 6 | UInt32(bytes[index + 3] & 0x3F)
        return (Unicode.Scalar(value).map(CharacterClass.of) ?? CharacterClass.other, 4)
    }
}
