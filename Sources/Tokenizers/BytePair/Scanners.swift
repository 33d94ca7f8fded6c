/// The end of the word that starts at `start`, in UTF-8 that ends at `end`: what one match of the pattern would take.
protocol WordScanner {
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int
}

extension ClassReader {
    /// The end of the run of scalars from `start` whose class satisfies `belongs`.
    @inline(__always)
    func runEnd(from start: Int, to end: Int, while belongs: (UInt8) -> Bool) -> Int {
        var at = start
        while at < end {
            let (kind, length) = read(at)
            guard belongs(kind) else { break }
            at += length
        }
        return at
    }

    /// `\s+(?!\S)|\s+` at a white-space scalar: the whole run at the end of the text; else all but its last scalar, which
    /// is left for the word that follows; a single one is taken.
    @inline(__always)
    func whitespaceEnd(from start: Int, to end: Int) -> Int {
        var at = start
        var last = start
        while at < end {
            let (kind, length) = read(at)
            guard CharacterClass.isSpace(kind) else { break }
            last = at
            at += length
        }
        return at == end || last == start ? at : last
    }
}

let apostrophe: UInt8 = 0x27
let space: UInt8 = 0x20

/// `SplitPattern.gpt2`
struct GPT2Scanner: WordScanner {
    @inline(__always)
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int {
        let first = reader.bytes[start]
        if first == apostrophe, let contraction = contractionEnd(reader, start, end) { return contraction }
        var at = start
        if first == space {
            at += 1
            if at == end { return at }
        }
        let (kind, length) = reader.read(at)
        if CharacterClass.isLetter(kind) {
            return reader.runEnd(from: at + length, to: end, while: CharacterClass.isLetter)
        }
        if CharacterClass.isNumber(kind) {
            return reader.runEnd(from: at + length, to: end, while: CharacterClass.isNumber)
        }
        if CharacterClass.isOther(kind) {
            return reader.runEnd(from: at + length, to: end, while: CharacterClass.isOther)
        }
        return reader.whitespaceEnd(from: start, to: end)
    }

    private func contractionEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int? {
        guard start + 1 < end else { return nil }
        let bytes = reader.bytes
        let next = start + 2 < end ? bytes[start + 2] : 0
        switch bytes[start + 1] {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"): return next == UInt8(ascii: "e") ? start + 3 : nil
        case UInt8(ascii: "l"): return next == UInt8(ascii: "l") ? start + 3 : nil
        default: return nil
        }
    }
}

/// `SplitPattern.digitsThenGPT2`: the look-ahead of a piece between two digits sees the piece's end.
struct DigitsScanner: WordScanner {
    /// Whether only `\p{Nd}` is a word by itself, not all of `\p{N}`.
    let decimalOnly: Bool

    @inline(__always)
    private func isOwnWord(_ kind: UInt8) -> Bool {
        kind == CharacterClass.digit || (kind == CharacterClass.number && !decimalOnly)
    }

    @inline(__always)
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int {
        let (kind, length) = reader.read(start)
        if isOwnWord(kind) { return start + length }
        guard CharacterClass.isSpace(kind) || kind == CharacterClass.number else {
            return GPT2Scanner().wordEnd(reader, from: start, to: end)
        }
        // An optional space and numbers that do not stand alone: up to one that does.
        let number = reader.bytes[start] == space ? start + 1 : start
        if decimalOnly, number < end, reader.read(number).class == CharacterClass.number {
            return reader.runEnd(from: number, to: end) { $0 == CharacterClass.number }
        }
        // White space before a number that stands alone reaches its piece's end.
        let run = reader.runEnd(from: start, to: end, while: CharacterClass.isSpace)
        if run < end, isOwnWord(reader.read(run).class) { return run }
        return GPT2Scanner().wordEnd(reader, from: start, to: end)
    }
}

/// `SplitPattern.contractionsAnyCase`
struct ContractionsAnyCaseScanner: WordScanner {
    let numberRun: Int
    /// Marks belong to words as letters do.
    let joinsMarks: Bool

    @inline(__always)
    private func isWord(_ kind: UInt8) -> Bool { CharacterClass.isLetter(kind) || (joinsMarks && kind == CharacterClass.mark) }

    @inline(__always)
    private func isPunctuation(_ kind: UInt8) -> Bool { CharacterClass.isOther(kind) && !(joinsMarks && kind == CharacterClass.mark) }

    @inline(__always)
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int {
        let first = reader.bytes[start]
        if first == apostrophe, let contraction = reader.contractionEnd(start, end) { return contraction }
        let (kind, length) = reader.read(start)
        if isWord(kind) { return reader.runEnd(from: start + length, to: end, while: isWord) }
        let second = start + length
        if CharacterClass.isNumber(kind) { return reader.numberEnd(second, end, longest: numberRun) }
        if kind != CharacterClass.newline, second < end {
            let (next, nextLength) = reader.read(second)
            if isWord(next) { return reader.runEnd(from: second + nextLength, to: end, while: isWord) }
            if first == space, isPunctuation(next) { return punctuationEnd(reader, second + nextLength, end) }
        }
        if isPunctuation(kind) { return punctuationEnd(reader, second, end) }
        return reader.spacesEnd(start, end)
    }

    /// The rest of `[^\s\p{L}\p{N}]+[\r\n]*`.
    @inline(__always)
    private func punctuationEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int {
        let stop = reader.runEnd(from: start, to: end, while: isPunctuation)
        return reader.runEnd(from: stop, to: end) { $0 == CharacterClass.newline }
    }
}

extension ClassReader {
    /// The rest of `\p{N}{1,n}` after its first scalar.
    @inline(__always)
    func numberEnd(_ second: Int, _ end: Int, longest: Int) -> Int {
        var at = second
        var taken = 1
        while taken < longest, at < end {
            let (kind, length) = read(at)
            guard CharacterClass.isNumber(kind) else { break }
            at += length
            taken += 1
        }
        return at
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`: to the run's last newline if it has one.
    func spacesEnd(_ start: Int, _ end: Int) -> Int {
        var at = start
        var afterNewline: Int?
        while at < end {
            let (kind, length) = read(at)
            guard CharacterClass.isSpace(kind) else { break }
            at += length
            if kind == CharacterClass.newline { afterNewline = at }
        }
        return afterNewline ?? whitespaceEnd(from: start, to: end)
    }

    /// Any case, by Unicode's folding: the long s (U+017F, C5 BF) is an s as well.
    func contractionEnd(_ start: Int, _ end: Int) -> Int? {
        guard start + 1 < end else { return nil }
        let next = start + 2 < end ? bytes[start + 2] : 0
        switch bytes[start + 1] | 0x20 {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
            return start + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"): return next | 0x20 == UInt8(ascii: "e") ? start + 3 : nil
        case UInt8(ascii: "l"): return next | 0x20 == UInt8(ascii: "l") ? start + 3 : nil
        case 0xC5 | 0x20: return bytes[start + 1] == 0xC5 && next == 0xBF ? start + 3 : nil
        default: return nil
        }
    }
}
