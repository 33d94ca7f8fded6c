/// `SplitPattern.cased`
struct CasedScanner: WordScanner {
    let numberRun: Int
    let contractions: Bool

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
    @inline(__always)
    private func isUpper(_ kind: UInt8) -> Bool { kind == CharacterClass.upper || isBoth(kind) }

    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
    @inline(__always)
    private func isLower(_ kind: UInt8) -> Bool { kind == CharacterClass.lower || isBoth(kind) }

    @inline(__always)
    private func isBoth(_ kind: UInt8) -> Bool { kind == CharacterClass.uncased || kind == CharacterClass.mark }

    @inline(__always)
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int {
        let (kind, length) = reader.read(start)
        let second = start + length
        if CharacterClass.isLetter(kind) { return word(reader, start, end) ?? second }
        if CharacterClass.isNumber(kind) { return reader.numberEnd(second, end, longest: numberRun) }
        if kind != CharacterClass.newline, let stop = prefixed(reader, start, second, end, isMark: kind == CharacterClass.mark) { return stop }
        let punctuation = reader.bytes[start] == space ? second : start
        if punctuation < end, CharacterClass.isOther(reader.read(punctuation).class) {
            let stop = reader.runEnd(from: punctuation, to: end, while: CharacterClass.isOther)
            return newlinesAndSlashesEnd(reader, stop, end)
        }
        return reader.spacesEnd(start, end)
    }

    /// A word behind one scalar that is no letter, or (a mark) that scalar's own: lower-case endings with and without the scalar come first.
    @inline(__always)
    private func prefixed(_ reader: ClassReader, _ start: Int, _ second: Int, _ end: Int, isMark: Bool) -> Int? {
        if let stop = lowerEnding(reader, second, end) { return contraction(reader, stop, end) }
        if isMark, let stop = lowerEnding(reader, start, end) { return contraction(reader, stop, end) }
        if let stop = upperRun(reader, second, end) { return contraction(reader, stop, end) }
        return nil
    }

    @inline(__always)
    private func word(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int? {
        (lowerEnding(reader, start, end) ?? upperRun(reader, start, end)).map { contraction(reader, $0, end) }
    }

    /// `U*W+` at `start`: the greedy run of U gives back scalars until one of W can follow.
    @inline(__always)
    private func lowerEnding(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int? {
        var at = start
        var afterBoth: Int?
        while at < end {
            let (kind, length) = reader.read(at)
            guard isUpper(kind) else {
                if kind == CharacterClass.lower { return reader.runEnd(from: at + length, to: end, while: isLower) }
                break
            }
            at += length
            if isBoth(kind) { afterBoth = at }
        }
        return afterBoth
    }

    /// `U+W*` where `U*W+` has not matched: nothing of W follows.
    @inline(__always)
    private func upperRun(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int? {
        let stop = reader.runEnd(from: start, to: end, while: isUpper)
        return stop > start ? stop : nil
    }

    @inline(__always)
    private func contraction(_ reader: ClassReader, _ at: Int, _ end: Int) -> Int {
        guard contractions, at < end, reader.bytes[at] == apostrophe else { return at }
        return reader.contractionEnd(at, end) ?? at
    }

    /// `[\r\n/]*`
    @inline(__always)
    private func newlinesAndSlashesEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int {
        var at = start
        while at < end, reader.bytes[at] == 0x0A || reader.bytes[at] == 0x0D || reader.bytes[at] == 0x2F { at += 1 }
        return at
    }
}

/// `SplitPattern.deepSeek`: the third expression sees only what the first two leave, up to their next match.
struct DeepSeekScanner: WordScanner {
    /// A class that no scalar has: where the first two expressions match.
    private static let border: UInt8 = 0xFF

    @inline(__always)
    private func read(_ reader: ClassReader, _ at: Int) -> (class: UInt8, length: Int) {
        let (kind, length) = reader.read(at)
        return CharacterClass.isNumber(kind) || isIdeograph(reader, at) ? (Self.border, length) : (kind, length)
    }

    /// `[一-龥぀-ゟ゠-ヿ]`: U+3040 to U+30FF and U+4E00 to U+9FA5.
    @inline(__always)
    private func isIdeograph(_ reader: ClassReader, _ at: Int) -> Bool {
        let first = reader.bytes[at]
        guard first >= 0xE3, first <= 0xE9 else { return false }
        let value = UInt32(first & 0x0F) << 12 | UInt32(reader.bytes[at + 1] & 0x3F) << 6 | UInt32(reader.bytes[at + 2] & 0x3F)
        return (0x3040...0x30FF).contains(value) || (0x4E00...0x9FA5).contains(value)
    }

    @inline(__always)
    private func runEnd(_ reader: ClassReader, _ start: Int, _ end: Int, _ belongs: (UInt8) -> Bool) -> Int {
        var at = start
        while at < end {
            let (kind, length) = read(reader, at)
            guard kind != Self.border, belongs(kind) else { break }
            at += length
        }
        return at
    }

    @inline(__always)
    private func isWord(_ kind: UInt8) -> Bool { kind != Self.border && CharacterClass.isLetterOrMark(kind) }

    @inline(__always)
    private func isSymbol(_ kind: UInt8) -> Bool { kind == CharacterClass.symbol }

    @inline(__always)
    func wordEnd(_ reader: ClassReader, from start: Int, to end: Int) -> Int {
        let (kind, length) = read(reader, start)
        let second = start + length
        if kind == Self.border { return borderEnd(reader, start, end) }
        let first = reader.bytes[start]
        if first < 0x80, isSymbol(kind), let stop = asciiWordEnd(reader, second, end) { return stop }
        if isWord(kind) { return runEnd(reader, second, end, isWord) }
        let next = second < end ? read(reader, second).class : Self.border
        if !isSymbol(kind), kind != CharacterClass.newline, isWord(next) { return runEnd(reader, second, end, isWord) }
        if isSymbol(kind) || (first == space && isSymbol(next)) {
            let stop = runEnd(reader, second, end, isSymbol)
            return runEnd(reader, stop, end) { $0 == CharacterClass.newline }
        }
        if CharacterClass.isSpace(kind) { return spacesEnd(reader, start, end) }
        // What no alternative takes is a word up to where one does.
        var at = second
        while at < end {
            let (kind, length) = read(reader, at)
            guard kind == CharacterClass.other else { break }
            if at + length < end, isWord(read(reader, at + length).class) { break }
            at += length
        }
        return at
    }

    private func borderEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int {
        let (kind, length) = reader.read(start)
        if CharacterClass.isNumber(kind) { return reader.numberEnd(start + length, end, longest: 3) }
        var at = start + length
        while at < end, isIdeograph(reader, at) { at += 3 }
        return at
    }

    /// `[A-Za-z]+` behind a symbol of ASCII.
    @inline(__always)
    private func asciiWordEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int? {
        var at = start
        while at < end, (0x61...0x7A).contains(reader.bytes[at] | 0x20), reader.bytes[at] < 0x80 { at += 1 }
        return at > start ? at : nil
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`, the text's end being the next border.
    private func spacesEnd(_ reader: ClassReader, _ start: Int, _ end: Int) -> Int {
        var at = start
        var last = start
        var afterNewline: Int?
        while at < end {
            let (kind, length) = read(reader, at)
            guard kind != Self.border, CharacterClass.isSpace(kind) else { break }
            last = at
            at += length
            if kind == CharacterClass.newline { afterNewline = at }
        }
        if let afterNewline { return afterNewline }
        let isAtEnd = at == end || read(reader, at).class == Self.border
        return isAtEnd || last == start ? at : last
    }
}
