import LorikeetGround

/// Lifetimes and arena offsets of a program's values.
///
/// A transient lives from the first op that writes it to the last that names it; inputs and outputs live for the whole run, so that
/// a run can be repeated. Values are placed largest first, each at the lowest offset that is free for its whole lifetime.
package struct Schedule: Sendable {
    /// First and last op index of each arena value; nil for values that live elsewhere or are never named.
    package private(set) var lifetimes: [ClosedRange<Int>?]
    /// Byte offset in the arena, a multiple of `alignment`; nil as above.
    package private(set) var offsets: [Int?]
    package private(set) var arenaBytes = 0

    /// Bytes, on the processor: a cache line, and enough for any vector load.
    package static let alignment = 64

    init(values: ValueTable, ops: [any Op], alignment: Int) {
        lifetimes = Array(repeating: nil, count: values.values.count)
        offsets = Array(repeating: nil, count: values.values.count)
        let last = max(0, ops.count - 1)
        for (step, op) in ops.enumerated() {
            for id in op.reads + op.writes where values[id].livesInArena {
                let start = lifetimes[id.index]?.lowerBound ?? step
                lifetimes[id.index] = start...step
            }
        }
        for id in values.ids {
            switch values[id].kind {
            case .input, .output: lifetimes[id.index] = 0...last
            default: break
            }
        }
        place(values, alignment)
    }

    private mutating func place(_ values: ValueTable, _ alignment: Int) {
        let order = values.ids.filter { lifetimes[$0.index] != nil }.sorted {
            let (a, b) = (values[$0].byteCount, values[$1].byteCount)
            return a == b ? $0.index < $1.index : a > b
        }
        // Sorted by start.
        var placed: [(start: Int, end: Int, first: Int32, last: Int32)] = []
        placed.reserveCapacity(order.count)
        for id in order {
            guard let lifetime = lifetimes[id.index] else { continue }
            let size = values[id].byteCount.roundedUp(toMultipleOf: alignment)
            var offset = 0
            let (first, last) = (Int32(lifetime.lowerBound), Int32(lifetime.upperBound))
            for other in placed where other.first <= last && other.last >= first {
                if offset + size <= other.start { break }
                offset = max(offset, other.end)
            }
            offsets[id.index] = offset
            // Behind all that start there or before.
            var (position, end) = (0, placed.count)
            while position < end {
                let middle = (position + end) / 2
                if placed[middle].start > offset { end = middle } else { position = middle + 1 }
            }
            placed.insert((offset, offset + size, first, last), at: position)
            arenaBytes = max(arenaBytes, offset + size)
        }
    }
}
