/// The parking pass: what enters a recomputed block is copied to the host's memory after its last use in the forward pass, and back before the
/// block is recomputed, so that its place on the card is free in between. The copies run beside the work of the neighbouring block.
///
///     forward:   … block b, park(b) | block b+1, park.end(b) | …
///     backward:  … fetch(b), block b+1 again and its adjoints | fetch.end(b), block b again and its adjoints | …
enum Parking {
    /// - Parameters:
    ///   - list: after all other passes, so that none of them meets these ops.
    ///   - blocks: for each block of the model the range of its forward ops.
    ///   - repeated: how many of them are recomputed.
    static func park(_ list: OpList, blocks: [Range<Int>], repeated: Int) -> OpList {
        var (list, insertions): (OpList, [Int: [OpList.Entry]]) = (list, [:])
        let uses = uses(list)
        // By block the end of its forward ops, and its first op in the backward pass.
        let firstBackward = list.firstBackward
        func forwardEnd(_ block: Range<Int>) -> Int? { list.entries[..<firstBackward].lastIndex { block.contains($0.origin) }.map { $0 + 1 } }
        func backwardStart(_ block: Range<Int>) -> Int? { list.entries[firstBackward...].firstIndex { block.contains($0.origin) } }
        // The last block's input is needed again right after the forward pass, and the one before it while that block is recomputed.
        for number in 0..<max(0, min(repeated, blocks.count - 2)) {
            guard let end = forwardEnd(blocks[number + 1]), let start = backwardStart(blocks[number + 1]) else { continue }
            for id in list.values.ids.prefix(uses.count) where list.values[id].kind == .transient {
                guard let use = uses[id.index], blocks[number].contains(use.backwardOrigins.lowerBound),
                    blocks[number].contains(use.backwardOrigins.upperBound), use.lastForward < end, start < use.backward[0]
                else { continue }
                let parked = list.values.addParked(id, alignment: list.target.alignment)
                let out = list.values.addCopy(of: id)
                list.incomplete.formUnion([parked, out])
                let origin = list.entries[use.lastForward].origin
                func entry(_ op: any Op, _ role: OpRole) -> OpList.Entry { OpList.Entry(op: op, origin: origin, role: role) }
                insertions[use.lastForward + 1, default: []].append(entry(Park(x: id, parked: parked), .forward))
                insertions[end, default: []].append(entry(ParkEnd(x: id, parked: parked), .forward))
                insertions[start, default: []].append(entry(Fetch(parked: parked, out: out), .adjoint))
                insertions[use.backward[0], default: []].append(entry(FetchEnd(out: out), .adjoint))
                for index in use.backward { list.entries[index].rename([id: out]) }
            }
        }
        list.insert(insertions)
        return list
    }

    /// Where a value of the forward pass is used.
    private struct Use {
        var lastForward: Int
        /// The ops of the backward pass that read it, and the smallest and largest origin among them.
        var backward: [Int] = []
        var backwardOrigins = 0...0
    }

    /// By value; nil where the backward pass does not use it, or writes it.
    private static func uses(_ list: OpList) -> [Use?] {
        var uses: [Use?] = Array(repeating: nil, count: list.values.values.count)
        var changed: Set<ValueID> = []
        for (index, entry) in list.entries.enumerated() {
            if !entry.isBackward {
                for id in entry.reads + entry.writes { uses[id.index] = Use(lastForward: index) }
                continue
            }
            changed.formUnion(entry.writes)
            for id in Set(entry.reads) {
                guard var use = uses[id.index] else { continue }
                let known = use.backward.isEmpty ? entry.origin...entry.origin : use.backwardOrigins
                use.backwardOrigins = min(known.lowerBound, entry.origin)...max(known.upperBound, entry.origin)
                use.backward.append(index)
                uses[id.index] = use
            }
        }
        for id in list.values.ids where changed.contains(id) || uses[id.index]?.backward.isEmpty ?? true { uses[id.index] = nil }
        return uses
    }
}
