/// The normaliser of a SentencePiece model, as its library applies it; spaces stay spaces (`▁` is written for them in the vocabulary alone).
struct SentencePieceNormalization: Sendable {
    let charsmap: Charsmap?
    var addsPrefix: Bool
    /// Runs of spaces become one, none stays at either end.
    var removesExtraSpaces: Bool
    /// The prefix is put behind the text.
    var prefixIsSuffix = false
    /// Texts that pass unchanged: user-defined pieces.
    let verbatim: ByteTrie
    /// Text that follows an added token gets no prefix.
    var prefixOnlyAtStart = false

    /// A bit for every two bytes: something that begins with them may change.
    private let stops: [UInt64]

    init(charsmap: Charsmap?, addsPrefix: Bool, removesExtraSpaces: Bool, verbatim: [[UInt8]] = []) {
        self.charsmap = charsmap
        self.addsPrefix = addsPrefix
        self.removesExtraSpaces = removesExtraSpaces
        self.verbatim = ByteTrie(verbatim)
        var stops = charsmap?.begins ?? [UInt64](repeating: 0, count: 1024)
        // `▁` begins with E2 96.
        stops[0xE2 << 2 | 0x96 >> 6] |= 1 << UInt64(0x96 & 63)
        for first in Set(verbatim.compactMap(\.first)) {
            for part in 0..<4 { stops[Int(first) << 2 | part] = .max }
        }
        self.stops = stops
    }

    func apply(to stretch: inout Stretch) {
        let old = stretch
        stretch = old.bytes.withUnsafeBufferPointer { applied(to: $0, sources: old.sources, origin: old.origin) }
    }

    /// The normal form of a text, whose bytes come from `sources`.
    func applied(to text: UnsafeBufferPointer<UInt8>, sources: [Source]? = nil, origin: Int) -> Stretch {
        let puts = addsPrefix && (!prefixOnlyAtStart || origin == 0)
        var writer = SpacedWriter(sources, count: text.count, removesExtraSpaces: removesExtraSpaces, prefix: puts && !prefixIsSuffix)
        stops.withUnsafeBufferPointer { stops in
            var at = 0
            while at < text.count {
                let plain = Self.plainEnd(text, from: at, stops)
                if plain > at {
                    writer.copy(text, at..<plain)
                    at = plain
                    continue
                }
                let (length, new) = step(text, at)
                writer.write(new, for: at..<at + length)
                at += length
            }
        }
        return writer.finished(suffix: puts && prefixIsSuffix, origin: origin)
    }

    /// The end of what stays as it is from `start` on, but for spaces.
    @inline(__always)
    private static func plainEnd(_ text: UnsafeBufferPointer<UInt8>, from start: Int, _ stops: UnsafeBufferPointer<UInt64>) -> Int {
        var at = start
        while at < text.count {
            let first = text[at]
            let second = at + 1 < text.count ? text[at + 1] : 0
            if stops[Int(first) << 2 | Int(second >> 6)] >> UInt64(second & 63) & 1 == 1 { break }
            at += UTF8Scalar.length(first)
        }
        return min(at, text.count)
    }

    /// What stands at `at`, and what it becomes. `▁` of the text is a space to the vocabulary.
    private func step(_ text: UnsafeBufferPointer<UInt8>, _ at: Int) -> (length: Int, new: ArraySlice<UInt8>) {
        if let match = verbatim.longest(text, at) { return (match.length, ArraySlice(text[at..<at + match.length])) }
        if let (length, replacement) = charsmap?.longest(text, at: at) { return (length, replacement) }
        let length = min(UTF8Scalar.length(text[at]), text.count - at)
        return (length, ArraySlice(text[at..<at + length]))
    }
}

/// Writes a text without the spaces that SentencePiece leaves out.
private struct SpacedWriter {
    private let old: [Source]?
    private let removesExtraSpaces: Bool
    private var hasPrefix: Bool
    private var bytes: [UInt8] = []
    private var sources: [Source]?
    private var wasSpace: Bool

    init(_ old: [Source]?, count: Int, removesExtraSpaces: Bool, prefix: Bool) {
        self.old = old
        self.removesExtraSpaces = removesExtraSpaces
        hasPrefix = prefix
        wasSpace = removesExtraSpaces
        bytes.reserveCapacity(count + 8)
        if old != nil { sources = [] }
        if prefix {
            bytes.append(0x20)
            sources?.append(Source(start: 0, end: 0))
        }
    }

    /// Takes over bytes that stay as they are, spaces aside.
    mutating func copy(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
        if !removesExtraSpaces {
            take(text, range)
            return
        }
        var start = range.lowerBound
        for index in range {
            let isSpace = text[index] == 0x20
            if isSpace, wasSpace {
                take(text, start..<index)
                start = index + 1
            }
            wasSpace = isSpace
        }
        take(text, start..<range.upperBound)
    }

    private mutating func take(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
        guard !range.isEmpty else { return }
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[range]))
        if let from = old { sources?.append(contentsOf: from[range]) }
    }

    mutating func write(_ new: ArraySlice<UInt8>, for range: Range<Int>) {
        var new = new
        while wasSpace, new.first == 0x20 { new = new.dropFirst() }
        guard !new.isEmpty else { return }
        wasSpace = removesExtraSpaces && new.last == 0x20
        let before = bytes.count
        if new.contains(0xE2) { bytes.append(contentsOf: TextPattern.metaspacesToSpaces(Array(new))) } else { bytes.append(contentsOf: new) }
        if let from = old {
            let source = Source(start: from[range.lowerBound].start, end: from[range.upperBound - 1].end)
            sources?.append(contentsOf: repeatElement(source, count: bytes.count - before))
        }
    }

    mutating func finished(suffix: Bool, origin: Int) -> Stretch {
        let first = hasPrefix ? 1 : 0
        while removesExtraSpaces, bytes.count > first, bytes.last == 0x20 {
            bytes.removeLast()
            sources?.removeLast()
        }
        if bytes.count == first { return Stretch(bytes: [], sources: sources == nil ? nil : [], origin: origin) }
        if hasPrefix, let source = sources?[1] { sources?[0] = source }
        if suffix {
            bytes.append(0x20)
            if let source = sources?.last { sources?.append(source) }
        }
        return Stretch(bytes: bytes, sources: sources, origin: origin)
    }
}
