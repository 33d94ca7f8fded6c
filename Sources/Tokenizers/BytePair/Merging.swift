/// Byte-pair merging of one word: while any neighbouring pair stands in the merge table, the pair of lowest rank (of equal
/// ones the leftmost) becomes one symbol.
struct Merger {
    let slots: UnsafePointer<MergeTable.Slot>
    let mask: Int
    let shift: UInt64

    /// Up to this many symbols the lowest rank is found by looking at all; beyond, by a heap (n log n, for untrusted text).
    static let longestScanned = 48

    struct Symbol {
        var id: UInt32
        /// Rank of the merge with the next symbol, `MergeTable.none` without one.
        var rank: UInt32
        /// What that merge makes.
        var merged: UInt32
        /// Bytes of the text that the symbol stands for.
        var length: UInt32
    }

    @inline(__always)
    func lookUp(_ left: UInt32, _ right: UInt32) -> (rank: UInt32, merged: UInt32) {
        let key = MergeTable.key(left, right)
        var slot = MergeTable.slot(of: key, shift)
        while true {
            let found = slots[slot]
            if found.key == key { return (found.rank, found.merged) }
            if found.key == MergeTable.empty { return (MergeTable.none, 0) }
            slot = (slot + 1) & mask
        }
    }

    /// Merges `symbols` (ids set) in place; returns how many are left.
    func merge(_ symbols: UnsafeMutableBufferPointer<Symbol>) -> Int {
        guard symbols.count > 1, let base = symbols.baseAddress else { return symbols.count }
        if symbols.count > Self.longestScanned { return mergeByHeap(base, symbols.count) }
        return mergeByScanning(base, symbols.count)
    }

    private func mergeByScanning(_ symbols: UnsafeMutablePointer<Symbol>, _ total: Int) -> Int {
        var count = total
        for i in 0..<(count - 1) { (symbols[i].rank, symbols[i].merged) = lookUp(symbols[i].id, symbols[i + 1].id) }
        symbols[count - 1].rank = MergeTable.none
        while count > 1 {
            var best = 0
            var lowest = symbols[0].rank
            for i in 1..<count where symbols[i].rank < lowest {
                lowest = symbols[i].rank
                best = i
            }
            if lowest == MergeTable.none { break }
            symbols[best].id = symbols[best].merged
            symbols[best].length += symbols[best + 1].length
            count -= 1
            for i in (best + 1)..<(count + 1) where i < count { symbols[i] = symbols[i + 1] }
            if best + 1 < count {
                (symbols[best].rank, symbols[best].merged) = lookUp(symbols[best].id, symbols[best + 1].id)
            } else {
                symbols[best].rank = MergeTable.none
            }
            if best > 0 {
                (symbols[best - 1].rank, symbols[best - 1].merged) = lookUp(symbols[best - 1].id, symbols[best].id)
            }
        }
        return count
    }

    /// The same by a binary heap of (rank, position) over a doubly linked list; entries that no longer hold are skipped.
    private func mergeByHeap(_ symbols: UnsafeMutablePointer<Symbol>, _ total: Int) -> Int {
        var next = (0..<total).map { Int32($0 + 1) }
        var previous = (0..<total).map { Int32($0 - 1) }
        var alive = [Bool](repeating: true, count: total)
        var heap = RankHeap()
        func offer(_ left: Int) {
            let right = Int(next[left])
            guard right < total else { symbols[left].rank = MergeTable.none; return }
            (symbols[left].rank, symbols[left].merged) = lookUp(symbols[left].id, symbols[right].id)
            if symbols[left].rank != MergeTable.none { heap.push(UInt64(symbols[left].rank) << 32 | UInt64(left)) }
        }
        for i in 0..<total { offer(i) }
        while let entry = heap.pop() {
            let left = Int(entry & 0xFFFF_FFFF)
            guard alive[left], symbols[left].rank == UInt32(entry >> 32) else { continue }
            let right = Int(next[left])
            symbols[left].id = symbols[left].merged
            symbols[left].length += symbols[right].length
            alive[right] = false
            symbols[right].rank = MergeTable.none
            next[left] = next[right]
            if Int(next[right]) < total { previous[Int(next[right])] = Int32(left) }
            offer(left)
            if previous[left] >= 0 { offer(Int(previous[left])) }
        }
        var count = 0
        for i in 0..<total where alive[i] {
            symbols[count] = symbols[i]
            count += 1
        }
        return count
    }
}

/// A binary heap of packed (rank, position): the lowest first.
private struct RankHeap {
    private var items: [UInt64] = []

    mutating func push(_ item: UInt64) {
        items.append(item)
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            if items[parent] <= items[child] { break }
            items.swapAt(parent, child)
            child = parent
        }
    }

    mutating func pop() -> UInt64? {
        guard let top = items.first, let last = items.popLast() else { return nil }
        if items.isEmpty { return top }
        items[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < items.count else { break }
            if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
            if items[parent] <= items[child] { break }
            items.swapAt(parent, child)
            parent = child
        }
        return top
    }
}
