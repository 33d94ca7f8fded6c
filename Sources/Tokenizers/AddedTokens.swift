import Glibc
import LorikeetGround

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
    /// Counts only where neither neighbour is a letter, a number, a mark or `_`.
    package var isSingleWord = false
    /// Is normalised as the text is, and looked for in the normalised text.
    package var isNormalized = false

    package init(
        id: Int32, text: String, isSpecial: Bool, stripsLeft: Bool = false, stripsRight: Bool = false,
        isSingleWord: Bool = false, isNormalized: Bool = false
    ) {
        self.id = id
        self.text = text
        self.isSpecial = isSpecial
        self.stripsLeft = stripsLeft
        self.stripsRight = stripsRight
        self.isSingleWord = isSingleWord
        self.isNormalized = isNormalized
    }
}

/// Finds added tokens in UTF-8: leftmost, and of those that start at one place the longest. One that is found and then does not count
/// (a special one among plain text, a single word inside of another) is passed over whole, as the reference library does.
struct AddedTokenMatcher: Sendable {
    struct Match {
        let token: AddedToken
        let range: Range<Int>
    }

    /// The work at a place of the text grows with a token's length.
    static let longestToken = 4096

    /// The byte that all texts begin with; nil where they differ. Most vocabularies have `<` alone.
    private let firstByte: UInt8?

    private let tokens: [AddedToken]
    private let trie: ByteTrie
    private let isFirstByte: [Bool]

    /// A space is a `▁` of the reference library's text, no white space.
    private let spacesAreMarks: Bool

    /// - Parameter texts: what is looked for: the tokens' texts, normalised where they are to be.
    init(_ tokens: [AddedToken], texts: [[UInt8]], spacesAreMarks: Bool = false, source: String) throws(LorikeetError) {
        self.spacesAreMarks = spacesAreMarks
        for (token, text) in zip(tokens, texts) where text.count > Self.longestToken {
            throw LorikeetError.input(
                "the added token \(token.id) (“\(token.text.prefix(20))…”) has \(text.count) bytes, more than \(Self.longestToken)", at: source,
                fix: "use a tokenizer with shorter added tokens")
        }
        self.tokens = tokens
        trie = ByteTrie(texts)
        let trie = trie
        let isFirstByte = (0..<256).map { trie.startsWith(UInt8($0)) }
        self.isFirstByte = isFirstByte
        firstByte = isFirstByte.count { $0 } == 1 ? isFirstByte.firstIndex(of: true).map { UInt8($0) } : nil
    }

    var isEmpty: Bool { trie.isEmpty }

    /// Calls `token` for every match and `text` for what lies between, from the left; ranges are of `bytes`.
    func forEachPart(
        in bytes: UnsafeBufferPointer<UInt8>, parseSpecial: Bool, token: (Match) -> Void, text: (Range<Int>) throws(LorikeetError) -> Void
    ) throws(LorikeetError) {
        var done = 0
        var at = 0
        while !isEmpty, let found = next(bytes, from: at) {
            at = found.end
            let candidate = tokens[found.index]
            if candidate.isSpecial, !parseSpecial { continue }
            if candidate.isSingleWord, !isWholeWord(bytes, found.start, found.end) { continue }
            var start = found.start
            var end = found.end
            if candidate.stripsLeft { start = max(spaceStart(bytes, before: start), done) }
            if candidate.stripsRight { end = spaceEnd(bytes, from: end) }
            // The match before may have taken this one's white space, or all of it.
            start = max(start, done)
            end = max(end, start)
            if done < start { try text(done..<start) }
            token(Match(token: candidate, range: start..<end))
            done = end
        }
        if done < bytes.count { try text(done..<bytes.count) }
    }

    @inline(__always)
    private func next(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> (index: Int, start: Int, end: Int)? {
        if let firstByte { return next(bytes, from: start, beginningWith: firstByte) }
        return isFirstByte.withUnsafeBufferPointer { isFirst in
            var at = start
            while at < bytes.count {
                if isFirst[Int(bytes[at])], let (index, length) = trie.longest(bytes, at) { return (index, at, at + length) }
                at += 1
            }
            return nil
        }
    }

    private func next(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int, beginningWith first: UInt8) -> (index: Int, start: Int, end: Int)? {
        guard let base = bytes.baseAddress else { return nil }
        var at = start
        while at < bytes.count, let found = memchr(base + at, Int32(first), bytes.count - at) {
            at = UnsafeRawPointer(found) - UnsafeRawPointer(base)
            if let (index, length) = trie.longest(bytes, at) { return (index, at, at + length) }
            at += 1
        }
        return nil
    }

    private func isWholeWord(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Bool {
        if end < bytes.count, ScalarSet.words.contains(UTF8Scalar.read(bytes, end).value) { return false }
        return start == 0 || !ScalarSet.words.contains(UTF8Scalar.read(bytes, Self.scalarStart(bytes, before: start)).value)
    }

    private static func scalarStart(_ bytes: UnsafeBufferPointer<UInt8>, before index: Int) -> Int {
        var at = index - 1
        while at > 0, bytes[at] & 0xC0 == 0x80 { at -= 1 }
        return at
    }

    private func isSpace(_ value: UInt32) -> Bool { ScalarSet.spaces.contains(value) && !(spacesAreMarks && value == 0x20) }

    private func spaceStart(_ bytes: UnsafeBufferPointer<UInt8>, before index: Int) -> Int {
        var at = index
        while at > 0 {
            let before = Self.scalarStart(bytes, before: at)
            guard isSpace(UTF8Scalar.read(bytes, before).value) else { break }
            at = before
        }
        return at
    }

    private func spaceEnd(_ bytes: UnsafeBufferPointer<UInt8>, from index: Int) -> Int {
        var at = index
        while at < bytes.count {
            let (value, length) = UTF8Scalar.read(bytes, at)
            guard isSpace(value) else { break }
            at += length
        }
        return at
    }
}
