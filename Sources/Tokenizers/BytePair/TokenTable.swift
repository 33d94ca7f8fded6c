import LorikeetGround

/// Byte strings numbered 0, 1, 2, … in one flat buffer, found by content in an open-addressing hash.
struct TokenTable: Sendable {
    private(set) var bytes: [UInt8] = []
    /// String `i` is `bytes[offsets[i]..<offsets[i + 1]]`.
    private(set) var offsets: [Int] = [0]
    /// Index + 1 of a string, 0 for an empty slot; the count is a power of two, at most half full.
    private var slots: [UInt32] = []
    private var mask = 0

    var count: Int { offsets.count - 1 }

    /// Appends a string; it is not findable before `index(_:)` has been given its number.
    mutating func append(_ string: some Sequence<UInt8>) {
        bytes.append(contentsOf: string)
        offsets.append(bytes.count)
    }

    /// Makes the strings for which `isFindable` holds findable by content; of equal strings the first wins.
    mutating func makeFindable(_ isFindable: (Int) -> Bool) {
        var capacity = 16
        while capacity < count * 2 { capacity *= 2 }
        slots = [UInt32](repeating: 0, count: capacity)
        mask = capacity - 1
        bytes.withUnsafeBufferPointer { all in
            for index in 0..<count where isFindable(index) {
                let slot = slot(of: UnsafeBufferPointer(rebasing: all[offsets[index]..<offsets[index + 1]]), in: all)
                if slots[slot] == 0 { slots[slot] = UInt32(index + 1) }
            }
        }
    }

    /// The number of the string equal to `string`, if it was made findable.
    func find(_ string: UnsafeBufferPointer<UInt8>) -> Int? {
        guard mask > 0 else { return nil }
        let entry = slots[bytes.withUnsafeBufferPointer { slot(of: string, in: $0) }]
        return entry == 0 ? nil : Int(entry) - 1
    }

    /// The slot that has `string`; where none has, the free one at which a search for it ends.
    private func slot(of string: UnsafeBufferPointer<UInt8>, in all: UnsafeBufferPointer<UInt8>) -> Int {
        var slot = Int(truncatingIfNeeded: Self.hash(string)) & mask
        while slots[slot] != 0 {
            let index = Int(slots[slot]) - 1
            if UnsafeBufferPointer(rebasing: all[offsets[index]..<offsets[index + 1]]).elementsEqual(string) { break }
            slot = (slot + 1) & mask
        }
        return slot
    }

    func find(_ string: [UInt8]) -> Int? { string.withUnsafeBufferPointer { find($0) } }

    /// FNV-1a with a final mix: short strings, no adversary (a vocabulary is loaded once).
    private static func hash(_ string: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var bytes = FNV1a()
        for byte in string { bytes.add(UInt64(byte)) }
        var hash = bytes.value
        hash ^= hash >> 32
        return (hash &* 0x9e37_79b9_7f4a_7c15) >> 20
    }
}
