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
    /// Of words already encoded; models that keep none ignore it.
    let cache: WordCache?
    let wantsRanges: Bool
    /// Byte ranges of `ids`; empty where nobody asks for them. Behind `placed` they count from the start of the normalised stretch.
    private(set) var ranges: [Range<Int>] = []
    private var placed = 0
    /// Which of `ids` are added tokens that were found in the text.
    private(set) var found: [Int] = []
    /// The next byte of the normalised stretch.
    var at = 0

    /// - Parameters:
    ///   - count: about how many tokens there will be.
    ///   - cache: used by this sink alone as long as it lives.
    init(wantsRanges: Bool, expecting count: Int = 0, cache: WordCache?) {
        self.wantsRanges = wantsRanges
        self.cache = cache
        ids.reserveCapacity(count)
        if wantsRanges { ranges.reserveCapacity(count) }
    }

    /// Adds a token that stands for the next `length` bytes of the normalised stretch.
    @inline(__always)
    mutating func append(_ id: Int32, length: Int) {
        ids.append(id)
        if wantsRanges {
            ranges.append(Range(uncheckedBounds: (at, at + length)))
            at += length
        }
    }

    /// Adds a token with its range in the normalised stretch.
    mutating func append(_ id: Int32, range: Range<Int>) {
        ids.append(id)
        if wantsRanges { ranges.append(range) }
    }

    /// Adds a token with its place in the whole text.
    mutating func append(_ id: Int32, placed range: Range<Int>) {
        noteFound()
        ids.append(id)
        if wantsRanges { ranges.append(range) }
        placed = ids.count
    }

    /// White space at the ends of unknown tokens, whose own text is what they stand for.
    private(set) var spaces: [Int: (leading: Int, trailing: Int)] = [:]

    /// The next token is an unknown one of this text.
    mutating func noteSpaces(_ text: UnsafeBufferPointer<UInt8>, marksAreSpaces: Bool) {
        let scalars = String(decoding: text, as: UTF8.self).unicodeScalars
        // A space stands for `▁`, which is none.
        func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace && !(marksAreSpaces && scalar == " ") }
        let leading = scalars.prefix(while: isSpace).count
        let trailing = scalars.reversed().prefix(while: isSpace).count
        if leading + trailing > 0 { spaces[ids.count] = (leading, trailing) }
    }

    /// The next token is an added one that was found in the text.
    mutating func noteFound() {
        if wantsRanges { found.append(ids.count) }
    }

    /// Makes the ranges of a stretch that was not changed those of whole characters of the text, in which it begins at `origin`.
    mutating func place(in text: UnsafeBufferPointer<UInt8>, origin: Int) {
        guard wantsRanges else { return }
        let first = placed
        ranges.withUnsafeMutableBufferPointer { ranges in
            for index in first..<ranges.count {
                var low = origin + ranges[index].lowerBound
                var high = origin + ranges[index].upperBound
                if low < high {
                    while low > 0, low < text.count, text[low] & 0xC0 == 0x80 { low -= 1 }
                    while high < text.count, text[high] & 0xC0 == 0x80 { high += 1 }
                }
                ranges[index] = low..<min(high, text.count)
            }
        }
        placed = ranges.count
    }

    /// Makes the ranges of a stretch those of the bytes that it comes from.
    mutating func place(_ sources: [Source]) {
        guard wantsRanges else { return }
        guard !sources.isEmpty else {
            placed = ranges.count
            return
        }
        for index in placed..<ranges.count {
            let range = ranges[index]
            let low = Int(sources[min(range.lowerBound, sources.count - 1)].start)
            let high = range.isEmpty ? low : Int(sources[min(range.upperBound, sources.count) - 1].end)
            ranges[index] = low..<max(low, high)
        }
        placed = ranges.count
    }

    /// Changes the ranges after all are placed.
    mutating func adjustRanges(_ change: (Int32, Int, Range<Int>) -> Range<Int>) {
        for index in ranges.indices { ranges[index] = change(ids[index], index, ranges[index]) }
    }
}
