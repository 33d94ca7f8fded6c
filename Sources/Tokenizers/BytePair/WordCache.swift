import CText
import Synchronization

/// Words already encoded: a two-way set-associative table from a word of 1 to 48 bytes to at most 12 tokens, each with the bytes that it stands
/// for. A word's set is two slots side by side: a new word takes the first, whose word moves to the second, whose word is dropped.
///
/// 65,536 slots (8 MiB) of two cache lines, of which a word of at most 32 bytes and 4 tokens needs the first alone:
///
///     0 length of the word (0: free)   1 count of tokens    2 lengths of the tokens (12)
///     16 the word's key (16)           32 ids (4 x 4)       48 the word's middle (32)
///     80 further ids (8 x 4)
///
/// One thread uses it at a time: `WordCaches` sees to that.
final class WordCache: Sendable {
    static let longestWord = 48
    static let mostTokens = 12
    private static let bits: UInt64 = 16

    /// The address of the first slot.
    private let address: UInt

    init() {
        let bytes = 128 << Int(Self.bits)
        let base = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 128)
        // A word's slot is anywhere in 8 MiB: large pages save misses of the translation buffer.
        lorikeet_advise_large_pages(base, bytes)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        address = UInt(bitPattern: base)
    }

    deinit { UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }

    /// Runs `body` with the slots.
    @inline(__always)
    func withSlots(_ body: (Slots) -> Void) {
        withExtendedLifetime(self) { if let base = UnsafeMutableRawPointer(bitPattern: address) { body(Slots(base: base)) } }
    }

    /// The slots while the cache is held.
    struct Slots {
        fileprivate let base: UnsafeMutableRawPointer

        /// The place of a word of 1 to `longestWord` bytes; the first cache lines of its two slots are prefetched.
        @inline(__always)
        func place(of word: UnsafePointer<UInt8>, _ count: Int) -> Place {
            let (low, high) = WordCache.key(word, count)
            var mixed = (low ^ (high &* 0xd6e8_feb8_6659_fd93) ^ UInt64(truncatingIfNeeded: count)) &* 0x9e37_79b9_7f4a_7c15
            if count > 16 {
                let raw = UnsafeRawPointer(word)
                var at = 8
                while at < count - 8 {
                    mixed = (mixed ^ (mixed >> 31) ^ raw.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* 0xd6e8_feb8_6659_fd93
                    at += 8
                }
            }
            let index = ((mixed ^ (mixed >> 31)) &* 0x9e37_79b9_7f4a_7c15) >> (65 - WordCache.bits)
            let first = base + Int(truncatingIfNeeded: index) * 256
            lorikeet_prefetch(first)
            lorikeet_prefetch(first + 128)
            return Place(word: word, count: count, low: low, high: high, first: first)
        }
    }

    /// Where a word is looked up.
    struct Place {
        let word: UnsafePointer<UInt8>
        let count: Int
        fileprivate let low: UInt64
        fileprivate let high: UInt64
        /// The first of the two slots that may hold the word.
        fileprivate let first: UnsafeMutableRawPointer

        @inline(__always)
        private func isHeld(in slot: UnsafeMutableRawPointer) -> Bool {
            slot.load(as: UInt8.self) == UInt8(truncatingIfNeeded: count) && slot.load(fromByteOffset: 16, as: UInt64.self) == low
                && slot.load(fromByteOffset: 24, as: UInt64.self) == high && (count <= 16 || WordCache.equal(slot + 48, word + 8, count - 16))
        }

        /// The word's slot, and whether it holds that word; if not, it is the first slot, free for the word, and what it held is in the second.
        @inline(__always)
        func find() -> (slot: Slot, isFound: Bool) {
            if isHeld(in: first) { return (Slot(at: first), true) }
            if isHeld(in: first + 128) { return (Slot(at: first + 128), true) }
            (first + 128).copyMemory(from: first, byteCount: 128)
            first.storeBytes(of: 0, as: UInt8.self)
            first.storeBytes(of: low, toByteOffset: 16, as: UInt64.self)
            first.storeBytes(of: high, toByteOffset: 24, as: UInt64.self)
            if count > 16 { (first + 48).copyMemory(from: word + 8, byteCount: count - 16) }
            return (Slot(at: first), false)
        }
    }

    struct Slot {
        fileprivate let at: UnsafeMutableRawPointer

        /// Where an id lies in the slot.
        @inline(__always)
        private static func place(_ index: Int) -> Int { (index < 4 ? 32 : 64) + 4 * index }

        @inline(__always)
        var count: Int { Int(at.load(fromByteOffset: 1, as: UInt8.self)) }
        @inline(__always)
        func id(_ index: Int) -> Int32 { at.load(fromByteOffset: Self.place(index), as: Int32.self) }
        @inline(__always)
        func length(_ index: Int) -> Int { Int(at.load(fromByteOffset: 2 + index, as: UInt8.self)) }

        /// Notes a token of the word whose slot this is; those beyond `mostTokens` are not kept.
        @inline(__always)
        func note(_ id: Int32, length: Int, at index: Int) {
            guard index < WordCache.mostTokens else { return }
            at.storeBytes(of: id, toByteOffset: Self.place(index), as: Int32.self)
            at.storeBytes(of: UInt8(truncatingIfNeeded: length), toByteOffset: 2 + index, as: UInt8.self)
        }

        /// Makes what was noted findable, where all of it was kept.
        @inline(__always)
        func finish(word count: Int, tokens: Int) {
            guard tokens <= WordCache.mostTokens else { return }
            at.storeBytes(of: UInt8(truncatingIfNeeded: tokens), toByteOffset: 1, as: UInt8.self)
            at.storeBytes(of: UInt8(truncatingIfNeeded: count), as: UInt8.self)
        }
    }

    /// Two overlapping loads: with the length they name a word of 1 to 16 bytes exactly, of a longer one the first and the last 8 bytes.
    @inline(__always)
    private static func key(_ word: UnsafePointer<UInt8>, _ count: Int) -> (low: UInt64, high: UInt64) {
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
    private static func equal(_ stored: UnsafeMutableRawPointer, _ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        for index in 0..<count where stored.load(fromByteOffset: index, as: UInt8.self) != bytes[index] { return false }
        return true
    }
}

/// The word caches of a tokenizer: as many as texts were ever encoded at once. Each text takes one and gives it back.
final class WordCaches: Sendable {
    private let idle = Mutex<[WordCache]>([])

    func take() -> WordCache { idle.withLock { $0.popLast() } ?? WordCache() }
    func put(_ cache: WordCache) { idle.withLock { $0.append(cache) } }
}
