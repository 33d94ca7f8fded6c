import CText

/// The classes of scalars that the patterns of byte-pair vocabularies know: `\p{L}`, `\p{N}`, `\s`, `[\r\n]`, the rest;
/// and the cases and marks that newer patterns tell apart: Unicode's general categories, of the version that the reference library has.
enum CharacterClass {
    /// Controls, formats, private and unassigned scalars.
    static let other: UInt8 = 0
    /// `\p{P}` and `\p{S}`
    static let symbol: UInt8 = 1
    /// `\p{M}`: not a letter
    static let mark: UInt8 = 2
    /// `\r` or `\n`: also white space.
    static let newline: UInt8 = 3
    /// `\s` (Unicode White_Space) other than `\r` and `\n`.
    static let space: UInt8 = 4
    /// `\p{Nl}` and `\p{No}`: ½, Ⅷ
    static let number: UInt8 = 5
    /// `\p{Nd}`
    static let digit: UInt8 = 6
    /// `\p{Lu}` and `\p{Lt}`
    static let upper: UInt8 = 7
    /// `\p{Ll}`
    static let lower: UInt8 = 8
    /// `\p{Lm}` and `\p{Lo}`
    static let uncased: UInt8 = 9

    @inline(__always) static func isLetter(_ c: UInt8) -> Bool { c >= upper }
    @inline(__always) static func isLetterOrMark(_ c: UInt8) -> Bool { c >= upper || c == mark }
    /// `\p{N}`
    @inline(__always) static func isNumber(_ c: UInt8) -> Bool { c == number || c == digit }
    @inline(__always) static func isSpace(_ c: UInt8) -> Bool { c == newline || c == space }
    /// Neither white space nor letter nor number.
    @inline(__always) static func isOther(_ c: UInt8) -> Bool { c <= mark }

    /// Scalars of the first two planes.
    private static let tableCount = 0x20000

    /// The table's address. It stays for good: all threads read it for every text, and must not count references to it.
    private static let address: UInt = {
        let table = UnsafeMutablePointer<UInt8>.allocate(capacity: tableCount)
        table.initialize(repeating: other, count: tableCount)
        for run in runs where run.start < tableCount {
            for code in run.start..<min(run.end, tableCount) { table[code] = run.class }
        }
        return UInt(bitPattern: table)
    }()

    /// The scalars of the first two planes by class (surrogates: other); never nil.
    static var table: UnsafePointer<UInt8>? { UnsafePointer(bitPattern: address) }

    /// Runs of scalars of one class, ascending: Scripts/make_character_classes.py writes them from the reference library's expressions.
    private static let runs: [(start: Int, end: Int, class: UInt8)] = {
        var length = 0
        let start = lorikeet_character_classes(&length)
        let text = String(decoding: UnsafeBufferPointer(start: start, count: length), as: UTF8.self)
        return text.utf8.split(whereSeparator: { $0 == 0x20 || $0 == 0x0A }).compactMap { entry in
            let parts = entry.split(whereSeparator: { $0 == 0x2B || $0 == 0x3D }).compactMap { Int(Substring($0), radix: 16) }
            return parts.count == 3 ? (parts[0], parts[0] + parts[1], UInt8(truncatingIfNeeded: parts[2])) : nil
        }
    }()

    static func of(_ scalar: Unicode.Scalar) -> UInt8 {
        Int(scalar.value) < tableCount ? table?[Int(scalar.value)] ?? other : beyond(scalar.value)
    }

    /// The class of a scalar beyond `table`.
    static func beyond(_ value: UInt32) -> UInt8 {
        for run in runs.reversed() where run.start <= Int(value) { return Int(value) < run.end ? run.class : other }
        return other
    }
}

/// Reads scalars' classes from valid UTF-8.
struct ClassReader {
    let bytes: UnsafePointer<UInt8>
    /// `CharacterClass.table`.
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
        return (value < 0x20000 ? classes[Int(value)] : CharacterClass.beyond(value), 4)
    }
}
