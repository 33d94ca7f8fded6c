/// The recomputation pass (checkpointing): forward ops run again right before the backward ops that need their results, so that these results
/// need no memory in between.
enum Recompute {
    /// - Parameters:
    ///   - policy: how many of the blocks are recomputed, what of them, and whether cheap values are elsewhere.
    ///   - blocks: for each block of the model the range of its forward ops, in forward order.
    static func recompute(_ list: OpList, _ policy: PassPolicy, blocks: [Range<Int>]) -> OpList {
        let repeated = Array(blocks.prefix(policy.blocks))
        var list = list
        if !repeated.isEmpty { repeatBlocks(repeated, policy.repeated, &list) }
        // Blocks of which only the gates run again keep the inputs of their norms.
        if policy.cheap { recomputeCheapValues(&list, except: policy.repeated == .gates ? [] : repeated) }
        return list
    }

    /// In ops. A value whose last forward reader and first backward reader are at most so far apart is kept: no other value could use its
    /// memory in between.
    private static let nearby = 4

    /// Recomputes each value for which its op has a cheap recomputation (`Op.recomputation`) before its first backward reader.
    ///
    /// - Parameter blocks: the blocks whose norms run again already, which are left alone here.
    private static func recomputeCheapValues(_ list: inout OpList, except blocks: [Range<Int>]) {
        var readersOf: [[Int]] = Array(repeating: [], count: list.values.values.count)
        for (place, entry) in list.entries.enumerated() {
            for id in entry.reads where readersOf[id.index].last != place { readersOf[id.index].append(place) }
        }
        let (firstBackward, end) = (list.firstBackward, blocks.last?.upperBound ?? 0)
        var insertions: [Int: [OpList.Entry]] = [:]
        // The excepted blocks are the first ones; between two blocks there may be ops of neither.
        for producer in list.entries[..<firstBackward] where producer.origin >= end || !blocks.contains(where: { $0.contains(producer.origin) }) {
            for value in producer.writes where list.values[value].kind == .transient {
                let readers = readersOf[value.index]
                guard let first = readers.first(where: { $0 >= firstBackward }), first - (readers.last { $0 < firstBackward } ?? 0) > nearby else { continue }
                let copy = list.values.addCopy(of: value)
                guard let again = producer.op.recomputation(of: value, into: copy) else { continue }
                for index in readers where index >= firstBackward {
                    list.entries[index].rename([value: copy])
                }
                insertions[first, default: []].insert(OpList.Entry(op: again, origin: producer.origin, role: .repeated), at: 0)
            }
        }
        list.insert(insertions)
    }

    /// Inserts copies of each block's forward ops before the block's first adjoint. The copies write values of their own, which the adjoints
    /// then read.
    ///
    /// The values that enter a block, those that ops outside of it read, and those that `repeated` leaves out are kept. An op whose results are
    /// kept, or needed by no adjoint, is not copied.
    private static func repeatBlocks(_ blocks: [Range<Int>], _ repeated: PassPolicy.Repeated, _ list: inout OpList) {
        let readers = originsOfReaders(list)
        // By forward op, the number of its block; nil outside of these blocks.
        var blockOf: [Int?] = Array(repeating: nil, count: list.firstBackward)
        for (number, block) in blocks.enumerated() { for origin in block where origin < blockOf.count { blockOf[origin] = number } }
        var adjoints: [[Int]] = Array(repeating: [], count: blocks.count)
        for index in list.firstBackward..<list.entries.count {
            if let block = blockOf[list.entries[index].origin] { adjoints[block].append(index) }
        }
        var insertions: [Int: [OpList.Entry]] = [:]
        for (number, block) in blocks.enumerated().reversed() {
            guard let start = adjoints[number].first else { continue }
            let kept = kept(list.entries[block], repeated, readers, block)
            insertions[start] = repeatBlock(block, adjoints[number], kept, &list)
        }
        list.insert(insertions)
    }

    /// For each value the smallest and the largest origin of the ops that read it; nil where no op does.
    private static func originsOfReaders(_ list: OpList) -> [ClosedRange<Int>?] {
        var origins: [ClosedRange<Int>?] = Array(repeating: nil, count: list.values.values.count)
        for entry in list.entries {
            for id in entry.reads {
                let known = origins[id.index] ?? entry.origin...entry.origin
                origins[id.index] = min(known.lowerBound, entry.origin)...max(known.upperBound, entry.origin)
            }
        }
        return origins
    }

    /// The values that the ops of a block write and that are kept for the backward pass.
    ///
    /// - Parameter readers: by value, see `originsOfReaders`.
    private static func kept(
        _ ops: ArraySlice<OpList.Entry>, _ repeated: PassPolicy.Repeated, _ readers: [ClosedRange<Int>?], _ block: Range<Int>
    ) -> Set<ValueID> {
        let written = Set(ops.flatMap(\.writes))
        let outside = written.filter { value in
            guard value.index < readers.count, let origins = readers[value.index] else { return false }
            return origins.lowerBound < block.lowerBound || origins.upperBound >= block.upperBound
        }
        switch repeated {
        case .everything: return outside
        case .allButAttention: return outside.union(ops.filter { $0.op is Attention }.flatMap(\.writes))
        case .gates:
            let wide = Set(ops.filter { $0.op is GatedActivation }.flatMap { $0.reads + $0.writes })
            return outside.union(written.subtracting(ops.filter { $0.writes.contains(where: wide.contains) }.flatMap(\.writes)))
        }
    }

    /// Copies of the ops of `block` that its adjoints need; changes the adjoints in `list` to read what the copies write.
    ///
    /// - Parameters:
    ///   - adjoints: their indices in `list`.
    ///   - kept: values that are not written again.
    private static func repeatBlock(_ block: Range<Int>, _ adjoints: [Int], _ kept: Set<ValueID>, _ list: inout OpList) -> [OpList.Entry] {
        let ops = Array(list.entries[block])
        var copies: [ValueID: ValueID] = [:]
        for op in ops {
            for value in op.writes where list.values[value].kind == .transient && copies[value] == nil && !kept.contains(value) {
                copies[value] = list.values.addCopy(of: value)
            }
        }
        let names = copies
        var wanted: Set<ValueID> = []
        for index in adjoints {
            list.entries[index].rename(names)
            wanted.formUnion(list.entries[index].reads)
        }
        var again: [OpList.Entry] = []
        for (offset, op) in ops.enumerated().reversed() {
            // An op whose results are all kept, or read by no adjoint, does not run again.
            guard op.writes.contains(where: { names[$0].map(wanted.contains) ?? false }) else { continue }
            let copy = OpList.Entry(op: op.op.renamed { names[$0] ?? $0 }, origin: block.lowerBound + offset, role: .repeated)
            wanted.formUnion(copy.reads)
            again.append(copy)
        }
        for (value, copy) in names where list.incomplete.contains(value) { list.incomplete.insert(copy) }
        return again.reversed()
    }
}
