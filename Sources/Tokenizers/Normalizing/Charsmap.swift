import LorikeetGround

/// SentencePiece's precompiled table of replacements: a trie over UTF-8 as a double array, and the replacements, each ended by a zero.
struct Charsmap: Sendable {
    private let units: [UInt32]
    private let replacements: [UInt8]
    /// Whether some key begins with a byte: where none does, a text of such bytes is not changed.
    private let isFirstByte: [Bool]
    /// A bit for every two bytes with which a key begins, and for every second byte of a key that is one byte long.
    let begins: [UInt64]

    /// Bytes. The longest of Unicode's own, for a ligature of a whole phrase, has 33.
    private static let longestReplacement = 256

    /// - Throws: exit 2 where the parts do not fit the blob, or a replacement is too long.
    init(_ blob: [UInt8], place: String) throws(LorikeetError) {
        func broken(_ what: String) -> LorikeetError { .input("the tokenizer's precompiled character map \(what)", at: place, fix: "download the file again") }
        guard blob.count >= 4 else { throw broken("is shorter than its header") }
        let size = Int(blob[0]) | Int(blob[1]) << 8 | Int(blob[2]) << 16 | Int(blob[3]) << 24
        guard size % 4 == 0, size >= 4, size <= blob.count - 4 else { throw broken("names a trie of \(size) bytes in a map of \(blob.count)") }
        units = (0..<size / 4).map { index in
            let at = 4 + index * 4
            return UInt32(blob[at]) | UInt32(blob[at + 1]) << 8 | UInt32(blob[at + 2]) << 16 | UInt32(blob[at + 3]) << 24
        }
        replacements = Array(blob[(4 + size)...])
        let units = units
        begins = Self.begins(units)
        isFirstByte = (0..<256).map { byte in
            let node = units.first.map { Self.offset($0) ^ byte } ?? 0
            return byte != 0 && node >= 0 && node < units.count && units[node] & (1 << 31 | 0xFF) == UInt32(byte)
        }
        guard String(validating: replacements, as: UTF8.self) != nil else { throw broken("has replacements that are not UTF-8") }
        let longest = replacements.split(separator: 0).map(\.count).max() ?? 0
        guard longest <= Self.longestReplacement else { throw broken("has a replacement of \(longest) bytes, more than \(Self.longestReplacement)") }
    }

    private static func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 1 << 9) >> 6) }

    /// The places in `replacements` of the keys that begin `text` at `start`, shortest first: (length, place).
    private func search(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int, _ found: (Int, Int) -> Bool) {
        guard let root = units.first else { return }
        var node = Self.offset(root)
        var at = start
        while at < end {
            let byte = text[at]
            if byte == 0 { return }
            node ^= Int(byte)
            guard node >= 0, node < units.count else { return }
            let unit = units[node]
            guard unit & (1 << 31 | 0xFF) == UInt32(byte) else { return }
            node ^= Self.offset(unit)
            at += 1
            guard unit >> 8 & 1 == 1 else { continue }
            guard node >= 0, node < units.count else { return }
            if !found(at - start, Int(units[node] & (1 << 31 - 1))) { return }
        }
    }

    private func replacement(_ place: Int) -> ArraySlice<UInt8> {
        guard place < replacements.count else { return [] }
        return replacements[place...].prefix { $0 != 0 }
    }

    /// The replacement of the shortest key that begins the text: what the reference library takes for a whole character.
    private func shortest(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> ArraySlice<UInt8>? {
        var place: Int?
        search(text, range.lowerBound, range.upperBound) { _, value in
            place = value
            return false
        }
        return place.map(replacement)
    }

    /// The replacement of the longest key that begins the text at `start`, and the key's length: SentencePiece's rule.
    func longest(_ text: UnsafeBufferPointer<UInt8>, at start: Int) -> (length: Int, replacement: ArraySlice<UInt8>)? {
        var best: (Int, Int)?
        search(text, start, text.count) { length, value in
            best = (length, value)
            return true
        }
        return best.map { ($0.0, replacement($0.1)) }
    }

    /// `begins` of a trie.
    private static func begins(_ units: [UInt32]) -> [UInt64] {
        var result = [UInt64](repeating: 0, count: 1024)
        guard let root = units.first else { return result }
        for first in 1..<256 {
            let node = offset(root) ^ first
            guard node >= 0, node < units.count, units[node] & (1 << 31 | 0xFF) == UInt32(first) else { continue }
            if units[node] >> 8 & 1 == 1 {
                for part in 0..<4 { result[first << 2 | part] = .max }
                continue
            }
            for second in 1..<256 {
                let next = node ^ offset(units[node]) ^ second
                if next >= 0, next < units.count, units[next] & (1 << 31 | 0xFF) == UInt32(second) {
                    result[first << 2 | second >> 6] |= 1 << UInt64(second & 63)
                }
            }
        }
        return result
    }

    func mayChange(_ text: UnsafeBufferPointer<UInt8>) -> Bool { text.contains { isFirstByte[Int($0)] } }

    /// Normalises as the reference library does: graphemes of up to five bytes as a whole, else scalar by scalar.
    func apply(to stretch: inout Stretch) {
        guard stretch.bytes.withUnsafeBufferPointer(mayChange) else { return }
        var changes: [ScalarChange] = []
        changes.reserveCapacity(stretch.bytes.count)
        var isChanged = false
        let text = String(decoding: stretch.bytes, as: UTF8.self)
        stretch.bytes.withUnsafeBufferPointer { bytes in
            var at = 0
            for character in text {
                let end = at + character.utf8.count
                if end - at < 6, let new = shortest(bytes, at..<end) {
                    isChanged = true
                    Self.append(new, for: UnsafeBufferPointer(rebasing: bytes[at..<end]), to: &changes)
                } else {
                    while at < end {
                        let (value, length) = UTF8Scalar.read(bytes, at)
                        if let new = shortest(bytes, at..<at + length) {
                            isChanged = true
                            Self.append(new, for: UnsafeBufferPointer(rebasing: bytes[at..<at + length]), to: &changes)
                        } else {
                            changes.append(ScalarChange(value, 0))
                        }
                        at += length
                    }
                }
                at = end
            }
        }
        if isChanged { stretch.apply(changes) }
    }

    /// The library's account of a replacement: scalars beyond the old count are new, missing ones are swallowed by the last one written.
    private static func append(_ new: ArraySlice<UInt8>, for old: UnsafeBufferPointer<UInt8>, to changes: inout [ScalarChange]) {
        var oldCount = 0
        UTF8Scalar.forEach(old) { _, _ in oldCount += 1 }
        var newCount = 0
        for scalar in String(decoding: new, as: UTF8.self).unicodeScalars {
            changes.append(ScalarChange(scalar.value, newCount < oldCount ? 0 : 1))
            newCount += 1
        }
        if newCount < oldCount, let last = changes.indices.last { changes[last].change -= oldCount - newCount }
    }
}
