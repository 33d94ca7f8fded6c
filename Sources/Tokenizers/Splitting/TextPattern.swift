import LorikeetGround

/// What is looked for in a text: a fixed text, scalars of a class, an expression, or one that a hand-made scanner knows.
enum TextPattern: Sendable {
    case literal([UInt8])
    case scalars(ScalarClass)
    case expression(RegularExpression)
    case known(SplitPattern)

    enum ScalarClass: Sendable, Equatable {
        case whitespace
        case numeric
        case punctuation
        /// `[^\w\s]+|\w+`'s two classes are joined by `TextPattern.words`.
        case scalar(UInt32)
    }

    /// The same with memory of its own: see `Tokenizer.forOneThread`.
    func forOneThread() -> TextPattern {
        switch self {
        case .literal(let bytes): .literal(bytes.map { $0 })
        case .expression(let expression): .expression(RegularExpression(sharing: expression))
        case .scalars, .known: self
        }
    }

    /// Calls `body` with every match from the left; matches do not overlap.
    func forEachMatch(in bytes: [UInt8], _ body: (Range<Int>) -> Void) throws(LorikeetError) {
        try forEachMatch(in: bytes, 0..<bytes.count, body)
    }

    /// Matches within `range` of `bytes`, which is all that the pattern sees; places count from the start of `bytes`.
    func forEachMatch(in bytes: [UInt8], _ range: Range<Int>, _ body: (Range<Int>) -> Void) throws(LorikeetError) {
        try bytes.withUnsafeBufferPointer { all throws(LorikeetError) in
            let start = range.lowerBound
            try forEachMatch(in: UnsafeBufferPointer(rebasing: all[range])) { body(start + $0.lowerBound..<start + $0.upperBound) }
        }
    }

    private func forEachMatch(in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) throws(LorikeetError) {
        switch self {
        case .literal(let literal): Self.find(literal, in: text, body)
        case .scalars(let kind): UTF8Scalar.forEach(text) { value, range in if kind.contains(value) { body(range) } }
        case .expression(let expression): try expression.forEachMatch(in: text, body)
        case .known(let pattern): pattern.forEachWord(in: text, body)
        }
    }

    static func contains(_ literal: [UInt8], _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        var isFound = false
        find(literal, in: text) { _ in isFound = true }
        return isFound
    }

    private static func find(_ literal: [UInt8], in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        guard let first = literal.first, literal.count <= text.count else { return }
        var at = 0
        let last = text.count - literal.count
        while at <= last {
            if text[at] == first, literal.indices.allSatisfy({ text[at + $0] == literal[$0] }) {
                body(at..<at + literal.count)
                at += literal.count
            } else {
                at += 1
            }
        }
    }

    /// `▁` (E2 96 81) → a space.
    static func metaspacesToSpaces(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.contains(0xE2) else { return bytes }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var at = 0
        while at < bytes.count {
            if at + 2 < bytes.count, bytes[at] == 0xE2, bytes[at + 1] == 0x96, bytes[at + 2] == 0x81 {
                result.append(0x20)
                at += 3
            } else {
                result.append(bytes[at])
                at += 1
            }
        }
        return result
    }
}

extension TextPattern.ScalarClass {
    func contains(_ value: UInt32) -> Bool {
        switch self {
        case .scalar(let scalar): value == scalar
        case .whitespace: ScalarSet.spaces.contains(value)
        case .numeric: ScalarSet.numbers.contains(value)
        case .punctuation: ScalarSet.punctuation.contains(value)
        }
    }
}
