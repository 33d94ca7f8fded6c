/// Words already encoded: a direct-mapped table from a word of 1 to 16 bytes to at most 4 ids.
///
/// A word's bytes are the key itself (two overlapping loads and the length name it exactly), so a hit compares three
/// machine words and touches one line. Direct-mapped: bounded, nothing to evict. Slot 48 bytes, 65,536 slots.
struct WordCache: Sendable {
    struct Slot: Sendable {
        var low: UInt64 = 0
        var high: UInt64 = 0
        var ids: SIMD4<Int32> = .zero
        var length: UInt8 = 0
        var count: UInt8 = 0
        /// Bytes that each id stands for, where the ids do not tell.
        var lengths: SIMD4<UInt8> = .zero
    }

    static let longestWord = 16
    static let bits: UInt64 = 16

    var slots = [Slot](repeating: Slot(), count: 1 << Int(bits))

    /// The exact key of a word of 1 to 16 bytes; two words of one length have equal keys only if they are equal.
    @inline(__always)
    static func key(_ word: UnsafePointer<UInt8>, _ count: Int) -> (low: UInt64, high: UInt64) {
        let raw = UnsafeRawPointer(word)
        if count >= 8 {
            return (
                raw.loadUnaligned(as: UInt64.self), raw.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
            )
        }
        if count >= 4 {
            let first = raw.loadUnaligned(as: UInt32.self)
            let last = raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
            return (UInt64(first) | UInt64(last) << 32, 0)
        }
        return (UInt64(word[0]) | UInt64(word[count / 2]) << 8 | UInt64(word[count - 1]) << 16, 0)
    }

    @inline(__always)
    static func slot(_ low: UInt64, _ high: UInt64, _ count: Int) -> Int {
        let mixed = (low ^ (high &* 0xd6e8_feb8_6659_fd93) ^ UInt64(truncatingIfNeeded: count)) &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: ((mixed ^ (mixed >> 31)) &* 0x9e37_79b9_7f4a_7c15) >> (64 - bits))
    }
}
