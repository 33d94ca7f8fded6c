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
        self.init(values, Lifetimes(values, ops.lazy.map { $0.reads + $0.writes }), alignment: alignment)
    }

    init(_ values: ValueTable, _ lifetimes: Lifetimes, alignment: Int) {
        self.lifetimes = lifetimes.ranges
        offsets = Array(repeating: nil, count: values.values.count)
        place(values, alignment)
    }

    /// First and last op index of each arena value of a program; they do not depend on its sizes.
    struct Lifetimes {
        fileprivate private(set) var ranges: [ClosedRange<Int>?]
        private let last: Int

        /// - Parameter operands: of each op.
        init(_ values: ValueTable, _ operands: some Collection<[ValueID]>) {
            ranges = Array(repeating: nil, count: values.values.count)
            last = max(0, operands.count - 1)
            for (step, ids) in operands.enumerated() {
                for id in ids where values[id].livesInArena { ranges[id.index] = (ranges[id.index]?.lowerBound ?? step)...step }
            }
            for (index, value) in values.values.enumerated() where value.kind == .input || value.kind == .output { ranges[index] = 0...last }
        }

        /// The most bytes of values that live at the same time. Every arena has at least as many, and they are found in a hundredth of a layout's time.
        func mostLiveBytes(_ values: ValueTable, alignment: Int) -> Int {
            // By op: the bytes that begin to live there, without those that ended before it.
            var changes = [Int](repeating: 0, count: last + 2)
            for (range, value) in zip(ranges, values.values) {
                guard let range else { continue }
                let bytes = value.byteCount.roundedUp(toMultipleOf: alignment)
                changes[range.lowerBound] += bytes
                changes[range.upperBound + 1] -= bytes
            }
            var (live, most) = (0, 0)
            for change in changes {
                live += change
                most = max(most, live)
            }
            return most
        }
    }

    private mutating func place(_ values: ValueTable, _ alignment: Int) {
        var order: [(index: Int, bytes: Int)] = []
        order.reserveCapacity(lifetimes.count)
        for index in lifetimes.indices where lifetimes[index] != nil { order.append((index, values.values[index].byteCount)) }
        order.sort { $0.bytes == $1.bytes ? $0.index < $1.index : $0.bytes > $1.bytes }
        // Sorted by start.
        withUnsafeTemporaryAllocation(of: (start: Int, end: Int, first: Int32, last: Int32).self, capacity: order.count) { placed in
            guard let memory = placed.baseAddress else { return }
            for (count, (index, bytes)) in order.enumerated() {
                guard let lifetime = lifetimes[index] else { continue }
                let size = bytes.roundedUp(toMultipleOf: alignment)
                let (first, last) = (Int32(lifetime.lowerBound), Int32(lifetime.upperBound))
                var offset = 0
                for other in UnsafeBufferPointer(start: memory, count: count) {
                    // All that follow start there or behind it.
                    if offset + size <= other.start { break }
                    if other.first <= last, other.last >= first { offset = max(offset, other.end) }
                }
                offsets[index] = offset
                // Behind all that start there or before.
                var (position, end) = (0, count)
                while position < end {
                    let middle = (position + end) / 2
                    if memory[middle].start > offset { end = middle } else { position = middle + 1 }
                }
                (memory + position + 1).moveInitialize(from: memory + position, count: count - position)
                (memory + position).initialize(to: (offset, offset + size, first, last))
                arenaBytes = max(arenaBytes, offset + size)
            }
        }
    }
}
