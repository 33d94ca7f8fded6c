/// The merges of a byte-pair model: (left id, right id) → (rank, merged id), in an open-addressing hash.
///
/// 16 bytes a slot, at most half full, so that a lookup is one cache line in the common case.
struct MergeTable: Sendable {
    struct Slot: Sendable {
        var key: UInt64
        /// Position in the list of merges: the lowest is merged first.
        var rank: UInt32
        var merged: UInt32
    }

    static let empty: UInt64 = .max
    /// The rank of a pair that does not merge.
    static let none: UInt32 = .max

    private(set) var slots: [Slot]
    let shift: UInt64

    init(capacityFor count: Int) {
        var bits: UInt64 = 4
        while 1 << bits < count * 2 { bits += 1 }
        slots = [Slot](repeating: Slot(key: Self.empty, rank: Self.none, merged: 0), count: 1 << Int(bits))
        shift = 64 - bits
    }

    /// Adds a merge.
    ///
    /// - Parameter replaces: whether it counts in place of an earlier one of the same pair, which counts else.
    mutating func insert(left: Int, right: Int, rank: Int, merged: Int, replaces: Bool = false) {
        let key = Self.key(UInt32(truncatingIfNeeded: left), UInt32(truncatingIfNeeded: right))
        var slot = Self.slot(of: key, shift)
        while slots[slot].key != Self.empty {
            if slots[slot].key == key {
                guard replaces else { return }
                break
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = Slot(key: key, rank: UInt32(truncatingIfNeeded: rank), merged: UInt32(truncatingIfNeeded: merged))
    }

    static func key(_ left: UInt32, _ right: UInt32) -> UInt64 { UInt64(left) << 32 | UInt64(right) }

    /// The home slot of a key: the top bits of a multiplicative hash (Knuth's golden ratio).
    static func slot(of key: UInt64, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ (key >> 29)) &* 0x9e37_79b9_7f4a_7c15) >> shift)
    }
}
