/// The pass that trades memory for time: forward ops run again right before the backward ops that need their results.
enum Recompute {
    /// - Parameter blocks: ranges of the forward ops, one a block of the model, in order.
    static func recompute(_ list: OpList, _ policy: PassPolicy, blocks: [Range<Int>]) -> OpList {
        let repeated = Array(blocks.prefix(policy.blocks))
        var list = list
        if policy.cheap { recomputeCheapValues(&list, except: repeated) }
        if !repeated.isEmpty { repeatBlocks(repeated, &list) }
        return list
    }

    /// Values whose last forward and first backward reader are no farther apart than this are kept: nothing could use their memory.
    private static let nearby = 4

    /// Each value that an op can restore cheaply, restored before its first backward reader.
    private static func recomputeCheapValues(_ list: inout OpList, except blocks: [Range<Int>]) {
        var readersOf: [[Int]] = Array(repeating: [], count: list.values.values.count)
        for (place, entry) in list.entries.enumerated() {
            for id in entry.op.reads where readersOf[id.index].last != place { readersOf[id.index].append(place) }
        }
        let (firstBackward, end) = (list.firstBackward, blocks.last?.upperBound ?? 0)
        var insertions: [Int: [OpList.Entry]] = [:]
        // Blocks that run again stand at the beginning, one after the other; between them may stand ops of none.
        for producer in list.entries[..<firstBackward] where producer.origin >= end || !blocks.contains(where: { $0.contains(producer.origin) }) {
            for value in producer.op.writes where list.values[value].kind == .transient {
                let readers = readersOf[value.index]
                guard let first = readers.first(where: { $0 >= firstBackward }), first - (readers.last { $0 < firstBackward } ?? 0) > nearby else { continue }
                let copy = list.values.addCopy(of: value)
                guard let again = producer.op.recomputation(of: value, into: copy) else { continue }
                for index in readers where index >= firstBackward {
                    list.entries[index].op = list.entries[index].op.renamed { $0 == value ? copy : $0 }
                }
                insertions[first, default: []].insert(OpList.Entry(op: again, origin: producer.origin, role: .repeated), at: 0)
            }
        }
        list.insert(insertions)
    }

    /// Runs blocks' forward ops again, each before its first adjoint, on values of their own, and lets the adjoints read those.
    ///
    /// Kept are the values that enter a block, and those that ops outside of it read. What no adjoint needs is not computed again.
    private static func repeatBlocks(_ blocks: [Range<Int>], _ list: inout OpList) {
        let readers = originsOfReaders(list)
        // The block of each forward op.
        var blockOf: [Int?] = Array(repeating: nil, count: list.firstBackward)
        for (number, block) in blocks.enumerated() { for origin in block where origin < blockOf.count { blockOf[origin] = number } }
        var adjoints: [[Int]] = Array(repeating: [], count: blocks.count)
        for index in list.firstBackward..<list.entries.count {
            if let block = blockOf[list.entries[index].origin] { adjoints[block].append(index) }
        }
        var insertions: [Int: [OpList.Entry]] = [:]
        for (number, block) in blocks.enumerated().reversed() {
            guard let start = adjoints[number].first else { continue }
            insertions[start] = repeatBlock(block, adjoints[number], readers, &list)
        }
        list.insert(insertions)
    }

    /// For each value the first and the last origin of the ops that read it; nil where nobody does.
    private static func originsOfReaders(_ list: OpList) -> [ClosedRange<Int>?] {
        var origins: [ClosedRange<Int>?] = Array(repeating: nil, count: list.values.values.count)
        for entry in list.entries {
            for id in entry.op.reads {
                let known = origins[id.index] ?? entry.origin...entry.origin
                origins[id.index] = min(known.lowerBound, entry.origin)...max(known.upperBound, entry.origin)
            }
        }
        return origins
    }

    /// The ops of `block` that its adjoints need again; the adjoints are renamed to read what those write.
    private static func repeatBlock(
        _ block: Range<Int>, _ adjoints: [Int], _ readers: [ClosedRange<Int>?], _ list: inout OpList
    ) -> [OpList.Entry] {
        let ops = list.entries[block].map(\.op)
        func isReadOutside(_ value: ValueID) -> Bool {
            guard value.index < readers.count, let origins = readers[value.index] else { return false }
            return origins.lowerBound < block.lowerBound || origins.upperBound >= block.upperBound
        }
        var copies: [ValueID: ValueID] = [:]
        for op in ops {
            for value in op.writes where list.values[value].kind == .transient && copies[value] == nil && !isReadOutside(value) {
                copies[value] = list.values.addCopy(of: value)
            }
        }
        let (names, own) = (copies, Set(copies.values))
        var wanted: Set<ValueID> = []
        for index in adjoints {
            list.entries[index].op = list.entries[index].op.renamed { names[$0] ?? $0 }
            wanted.formUnion(list.entries[index].op.reads)
        }
        var again: [OpList.Entry] = []
        for (offset, op) in ops.enumerated().reversed() {
            let copy = op.renamed { names[$0] ?? $0 }
            // An op whose results are all kept, or read by no adjoint, does not run again.
            guard copy.writes.contains(where: { wanted.contains($0) && own.contains($0) }) else { continue }
            wanted.formUnion(copy.reads)
            again.append(OpList.Entry(op: copy, origin: block.lowerBound + offset, role: .repeated))
        }
        for (value, copy) in names where list.incomplete.contains(value) { list.incomplete.insert(copy) }
        return again.reversed()
    }
}
