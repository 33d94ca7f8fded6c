/// Tokens of a text, and which bytes of the text each stands for.
package struct TokenizedText: Sendable, Equatable {
    package var ids: [Int32]
    /// As many as `ids`: UTF-8 byte offsets into the text given to `encode`, ascending.
    ///
    /// A range consists of whole characters (scalars): each of several tokens that make up one character has that
    /// character's range, so that ranges of neighbouring tokens may overlap.
    package var ranges: [Range<Int>]

    package init(ids: [Int32] = [], ranges: [Range<Int>] = []) {
        self.ids = ids
        self.ranges = ranges
    }
}

/// Where encoding puts its tokens.
struct TokenSink {
    var ids: [Int32] = []
    /// Byte ranges of `ids`; nil where nobody asks for them. Behind `placed` they count from the start of the normalised stretch.
    var ranges: [Range<Int>]?
    /// Bytes that encoding put before the stretch (a space).
    var prefixLength = 0
    private var placed = 0
    private var start = 0
    private var at = 0

    init(ranges: [Range<Int>]?) { self.ranges = ranges }

    /// Begins a stretch of text at byte `offset`.
    mutating func begin(_ offset: Int) {
        start = offset
        at = 0
        prefixLength = 0
        placed = ids.count
    }

    /// Adds a token that stands for the next `length` bytes of the normalised stretch.
    mutating func append(_ id: Int32, length: Int) {
        ids.append(id)
        guard ranges != nil else { return }
        ranges?.append(at..<at + length)
        at += length
    }

    /// Adds a token with its place in the whole text.
    mutating func append(_ id: Int32, range: Range<Int>) {
        ids.append(id)
        ranges?.append(range)
        placed = ids.count
    }

    /// Moves the ranges of the stretch to their places in the whole text.
    ///
    /// - Parameters:
    ///   - text: the stretch before normalisation.
    ///   - sources: for each byte of the normalised stretch the range it comes from; nil where nothing was changed.
    mutating func place(in text: UnsafeBufferPointer<UInt8>, sources: [Range<Int>]?) {
        guard let count = ranges?.count, text.count > 0 else { return }
        for index in placed..<count {
            guard let range = ranges?[index] else { continue }
            // A prefix belongs to the first character.
            let first = max(0, range.lowerBound - prefixLength)
            let last = max(first, max(1, range.upperBound - prefixLength) - 1)
            var low = min(first, text.count - 1)
            var high = min(last, text.count - 1)
            if let sources, !sources.isEmpty {
                low = sources[min(first, sources.count - 1)].lowerBound
                high = sources[min(last, sources.count - 1)].upperBound
            } else {
                while low > 0, text[low] & 0xC0 == 0x80 { low -= 1 }
                high += 1
                while high < text.count, text[high] & 0xC0 == 0x80 { high += 1 }
            }
            ranges?[index] = start + low..<start + max(low, high)
        }
        placed = count
    }
}
