/// A token that is matched in the text before anything else: special ones (`<|im_end|>`) and words a user added.
package struct AddedToken: Sendable, Equatable {
    package var id: Int32
    package var text: String
    /// Has a meaning of its own (end of turn, padding): left out by `skipSpecial`, matched only with `parseSpecial`.
    package var isSpecial: Bool
    /// Takes the white space before it with it.
    package var stripsLeft = false
    /// Takes the white space after it with it.
    package var stripsRight = false
    /// Matched only where neither neighbour is a letter, a number, a mark or `_`.
    package var isSingleWord = false

    package init(
        id: Int32, text: String, isSpecial: Bool, stripsLeft: Bool = false, stripsRight: Bool = false,
        isSingleWord: Bool = false
    ) {
        self.id = id
        self.text = text
        self.isSpecial = isSpecial
        self.stripsLeft = stripsLeft
        self.stripsRight = stripsRight
        self.isSingleWord = isSingleWord
    }
}

/// Finds added tokens in UTF-8: leftmost, and of those that start at one place the longest.
struct AddedTokenMatcher: Sendable {
    struct Match {
        let token: Int
        let start: Int
        let end: Int
    }

    let tokens: [AddedToken]
    /// A trie: node 0 is the root; (node, byte) → node. Few edges, looked at only after a first byte that occurs.
    private var edges: [UInt64: Int32] = [:]
    /// Index into `tokens` + 1 of the token that ends at a node.
    private var ends: [Int32] = [0]
    private var isFirstByte = [Bool](repeating: false, count: 256)

    init(_ tokens: [AddedToken]) {
        self.tokens = tokens
        for (index, token) in tokens.enumerated() {
            var node = 0
            for (position, byte) in token.text.utf8.enumerated() {
                if position == 0 { isFirstByte[Int(byte)] = true }
                let edge = UInt64(node) << 8 | UInt64(byte)
                if let existing = edges[edge] {
                    node = Int(existing)
                } else {
                    node = ends.count
                    edges[edge] = Int32(node)
                    ends.append(0)
                }
            }
            if node != 0, ends[node] == 0 { ends[node] = Int32(index + 1) }
        }
    }

    /// The first match at or after `start`; special tokens only if `parseSpecial`.
    func next(
        in text: UnsafeBufferPointer<UInt8>, from start: Int, parseSpecial: Bool, reader: ClassReader
    ) -> Match? {
        var at = start
        return isFirstByte.withUnsafeBufferPointer { isFirst in
            while at < text.count {
                if isFirst[Int(text[at])], let match = longest(text, at, parseSpecial, reader) {
                    return widened(match, text, from: start, reader)
                }
                at += 1
            }
            return nil
        }
    }

    private func longest(
        _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ parseSpecial: Bool, _ reader: ClassReader
    ) -> Match? {
        var node = 0
        var best: Match?
        var at = start
        while at < text.count, let child = edges[UInt64(node) << 8 | UInt64(text[at])] {
            node = Int(child)
            at += 1
            guard ends[node] > 0 else { continue }
            let token = tokens[Int(ends[node]) - 1]
            if token.isSpecial, !parseSpecial { continue }
            if token.isSingleWord, !isWholeWord(text, start, at, reader) { continue }
            best = Match(token: Int(ends[node]) - 1, start: start, end: at)
        }
        return best
    }

    private func isWholeWord(
        _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int, _ reader: ClassReader
    ) -> Bool {
        func isWord(_ index: Int) -> Bool {
            let kind = reader.read(index).class
            return CharacterClass.isLetter(kind) || CharacterClass.isNumber(kind) || kind == CharacterClass.mark
                || text[index] == UInt8(ascii: "_")
        }
        if end < text.count, isWord(end) { return false }
        return start == 0 || !isWord(Self.scalarStart(text, before: start))
    }

    private static func scalarStart(_ text: UnsafeBufferPointer<UInt8>, before index: Int) -> Int {
        var at = index - 1
        while at > 0, text[at] & 0xC0 == 0x80 { at -= 1 }
        return at
    }

    /// The match with the white space that it strips, never before `start`, the end of the match before it.
    private func widened(
        _ match: Match, _ text: UnsafeBufferPointer<UInt8>, from start: Int, _ reader: ClassReader
    ) -> Match {
        let token = tokens[match.token]
        var first = match.start
        var end = match.end
        while token.stripsLeft, first > start {
            let before = Self.scalarStart(text, before: first)
            guard CharacterClass.isSpace(reader.read(before).class) else { break }
            first = before
        }
        if token.stripsRight { end = reader.runEnd(from: end, to: text.count, while: CharacterClass.isSpace) }
        return Match(token: match.token, start: first, end: end)
    }
}
