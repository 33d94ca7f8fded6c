import LorikeetGround

/// Bytes of the text given to `encode`: where a byte of a normalised text comes from.
struct Source: Sendable, Equatable {
    var start: UInt32
    var end: UInt32
}

/// A stretch of text on its way to the model: normalised UTF-8, and where each of its bytes comes from.
struct Stretch {
    var bytes: [UInt8]
    /// For each byte the range of the original text that it stands for; nil where nobody asks.
    var sources: [Source]?
    /// Where the stretch begins in the original text.
    let origin: Int

    /// Text as it was given: every byte comes from its own character.
    init(_ text: UnsafeBufferPointer<UInt8>, origin: Int, wantsSources: Bool) {
        bytes = Array(text)
        self.origin = origin
        guard wantsSources else { return }
        var sources: [Source] = []
        sources.reserveCapacity(text.count)
        var at = 0
        while at < text.count {
            let length = min(UTF8Scalar.length(text[at]), text.count - at)
            let source = Source(start: UInt32(truncatingIfNeeded: origin + at), end: UInt32(truncatingIfNeeded: origin + at + length))
            sources.append(contentsOf: repeatElement(source, count: length))
            at += length
        }
        self.sources = sources
    }

    init(bytes: [UInt8], sources: [Source]?, origin: Int) {
        (self.bytes, self.sources, self.origin) = (bytes, sources, origin)
    }

    /// A text may become so many times as long, and a little more; no known tokenizer doubles one. Rules that lengthen a text, one behind the other,
    /// would let a file of a few lines fill any memory.
    private static let mostGrowth = 64

    /// - Throws: exit 2 where a text of `before` bytes has become one of `count`, and that is too long.
    static func requireLength(_ count: Int, of before: Int) throws(LorikeetError) {
        guard count > Saturating.sum(1 << 16, Saturating.product(mostGrowth, before)) else { return }
        throw .input(
            "the tokenizer's rules make a text of \(before) bytes more than \(mostGrowth) times as long", fix: "use the model's own tokenizer")
    }

    /// A part of the stretch.
    func slice(_ range: Range<Int>) -> Stretch {
        Stretch(bytes: Array(bytes[range]), sources: sources.map { Array($0[range]) }, origin: origin)
    }
}

/// Scalars in UTF-8 that is known to be valid.
enum UTF8Scalar {
    @inline(__always)
    static func length(_ first: UInt8) -> Int { first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4 }

    /// The scalar at `index`, and its length in bytes; U+FFFD for what is no scalar.
    @inline(__always)
    static func read(_ bytes: UnsafeBufferPointer<UInt8>, _ index: Int) -> (value: UInt32, length: Int) {
        let first = bytes[index]
        if first < 0x80 { return (UInt32(first), 1) }
        let length = Self.length(first)
        guard index + length <= bytes.count else { return (0xFFFD, bytes.count - index) }
        var value = UInt32(first) & (length == 2 ? 0x1F : length == 3 ? 0x0F : 0x07)
        for i in 1..<length { value = value << 6 | UInt32(bytes[index + i] & 0x3F) }
        return (value, length)
    }

    static func append(_ value: UInt32, to bytes: inout [UInt8]) {
        switch value {
        case 0..<0x80: bytes.append(UInt8(truncatingIfNeeded: value))
        case 0x80..<0x800:
            bytes.append(UInt8(truncatingIfNeeded: 0xC0 | value >> 6))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value & 0x3F))
        case 0x800..<0x10000:
            bytes.append(UInt8(truncatingIfNeeded: 0xE0 | value >> 12))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value >> 6 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value & 0x3F))
        default:
            bytes.append(UInt8(truncatingIfNeeded: 0xF0 | value >> 18))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value >> 12 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value >> 6 & 0x3F))
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | value & 0x3F))
        }
    }

    /// Calls `body` with every scalar and its place.
    @inline(__always)
    static func forEach(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (UInt32, Range<Int>) -> Void) {
        var at = 0
        while at < bytes.count {
            let (value, length) = read(bytes, at)
            body(value, at..<at + length)
            at += length
        }
    }
}

/// A scalar of a stretch's next form: 0 replaces the next old one, 1 is new, -n replaces one and swallows the n that follow it.
struct ScalarChange {
    var scalar: UInt32
    var change: Int

    init(_ scalar: UInt32, _ change: Int) { (self.scalar, self.change) = (scalar, change) }
}

extension Stretch {
    /// - Parameter removed: old scalars that are left out at the beginning.
    mutating func apply(_ changes: [ScalarChange], removedFirst removed: Int = 0) {
        var writer = StretchWriter(self)
        writer.skip(removed)
        for item in changes {
            if item.change > 0 { writer.insert(item.scalar) } else { writer.replace(item.scalar, removed: -item.change) }
        }
        self = writer.result
    }

    /// Leaves out the scalars for which `keeps` does not hold.
    mutating func filter(_ keeps: (UInt32) -> Bool) {
        var changes: [ScalarChange] = []
        changes.reserveCapacity(bytes.count)
        var removedFirst = 0
        bytes.withUnsafeBufferPointer { bytes in
            UTF8Scalar.forEach(bytes) { value, _ in
                if keeps(value) {
                    changes.append(ScalarChange(value, 0))
                } else if let last = changes.indices.last {
                    changes[last].change -= 1
                } else {
                    removedFirst += 1
                }
            }
        }
        apply(changes, removedFirst: removedFirst)
    }

    /// Puts what `new` gives in the place of each scalar: the first replaces it, the others are new.
    mutating func map(_ new: (UInt32, (UInt32) -> Void) -> Void) {
        var changes: [ScalarChange] = []
        changes.reserveCapacity(bytes.count)
        bytes.withUnsafeBufferPointer { bytes in
            UTF8Scalar.forEach(bytes) { value, _ in
                let first = changes.count
                new(value) { changes.append(ScalarChange($0, changes.count == first ? 0 : 1)) }
            }
        }
        apply(changes)
    }
}

/// Writes the next form of a stretch scalar by scalar, and keeps the account of where each comes from as the reference library does:
/// a scalar replaces the next old one (`removed` = 0), replaces it and swallows the following ones (`removed` > 0), or is new and
/// has the source of the old byte before it.
struct StretchWriter {
    private let old: Stretch
    private(set) var bytes: [UInt8] = []
    private var sources: [Source]?
    /// The next old byte that is not accounted for.
    private var at = 0

    init(_ old: Stretch) {
        self.old = old
        bytes.reserveCapacity(old.bytes.count + old.bytes.count / 8 + 8)
        if old.sources != nil { sources = [] }
        sources?.reserveCapacity(old.bytes.count + old.bytes.count / 8 + 8)
    }

    var result: Stretch { Stretch(bytes: bytes, sources: sources, origin: old.origin) }

    /// Leaves out the next `count` old scalars.
    mutating func skip(_ count: Int) {
        guard sources != nil else { return }
        for _ in 0..<count where at < old.bytes.count { at += UTF8Scalar.length(old.bytes[at]) }
    }

    mutating func replace(_ scalar: UInt32, removed: Int = 0) {
        let before = bytes.count
        UTF8Scalar.append(scalar, to: &bytes)
        guard let from = old.sources, sources != nil else { return }
        let origin = UInt32(truncatingIfNeeded: old.origin)
        let source = at < from.count ? from[at] : from.last ?? Source(start: origin, end: origin)
        sources?.append(contentsOf: repeatElement(source, count: bytes.count - before))
        skip(1 + removed)
    }

    mutating func insert(_ scalar: UInt32) {
        let before = bytes.count
        UTF8Scalar.append(scalar, to: &bytes)
        guard let from = old.sources, sources != nil else { return }
        let origin = UInt32(truncatingIfNeeded: old.origin)
        let source = at > 0 && at <= from.count ? from[at - 1] : Source(start: origin, end: origin)
        sources?.append(contentsOf: repeatElement(source, count: bytes.count - before))
    }

    /// Takes old bytes over as they are.
    mutating func keep(_ range: Range<Int>) {
        bytes.append(contentsOf: old.bytes[range])
        if let from = old.sources { sources?.append(contentsOf: from[range]) }
        at = range.upperBound
    }

    /// Puts `scalars` in the place of the old bytes of `range`: new scalars, which have the source of the last old byte.
    mutating func substitute(_ range: Range<Int>, with scalars: some Sequence<Unicode.Scalar>) {
        at = range.upperBound
        for scalar in scalars { insert(scalar.value) }
    }
}
