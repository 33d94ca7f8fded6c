/// Which values are computed again in the backward pass instead of being kept from the forward pass.
package struct RecomputePolicy: Sendable, Hashable {
    /// The outputs of normalisations (from their input and 1/rms, which are kept) and products of gated activations.
    package var cheap: Bool
    /// The first N blocks are recomputed: backward reaches them last, when later activations are already freed. They keep only what
    /// enters them.
    package var blocks: Int
    /// Whether the fusion table joins ops; false runs the plain program.
    package var fuse = true

    package init(cheap: Bool = true, blocks: Int = 0) {
        self.cheap = cheap
        self.blocks = blocks
    }

    package static let nothing = RecomputePolicy(cheap: false)
    package static let norms = RecomputePolicy()
}

extension RecomputePolicy: RawRepresentable {
    /// `nothing`, `norms`, or `norms+12` for twelve blocks; `,plain` behind it without fusion.
    package var rawValue: String { (cheap ? "norms" : "nothing") + (blocks > 0 ? "+\(blocks)" : "") + (fuse ? "" : ",plain") }

    package init?(rawValue: String) {
        let fuse = !rawValue.hasSuffix(",plain")
        let parts = (fuse ? rawValue : String(rawValue.dropLast(6))).split(separator: "+", maxSplits: 1)
        guard let first = parts.first, first == "norms" || first == "nothing" else { return nil }
        self.init(cheap: first == "norms")
        self.fuse = fuse
        if parts.count == 2 {
            guard let blocks = Int(parts[1]), blocks > 0 else { return nil }
            self.blocks = blocks
        }
    }
}

/// The pass that trades memory for time: forward ops run again right before the backward ops that need their results.
enum Recompute {
    /// - Parameter blocks: ranges of the forward ops, one a block of the model, in order.
    static func recompute(_ list: OpList, _ policy: RecomputePolicy, blocks: [Range<Int>]) -> OpList {
        let repeated = Array(blocks.prefix(policy.blocks))
        var list = list
        if policy.cheap { recomputeCheapValues(&list, except: repeated) }
        for block in repeated.reversed() { repeatBlock(block, &list) }
        return list
    }

    /// Values whose last forward and first backward reader are no farther apart than this are kept: nothing could use their memory.
    private static let nearby = 4

    /// Each value that an op can restore cheaply, restored before its first backward reader.
    private static func recomputeCheapValues(_ list: inout OpList, except blocks: [Range<Int>]) {
        let forward = list.entries[..<list.firstBackward]
        var readersOf: [ValueID: [Int]] = [:]
        for (place, entry) in list.entries.enumerated() {
            for id in Set(entry.op.reads) { readersOf[id, default: []].append(place) }
        }
        var insertions: [(place: Int, entry: OpList.Entry)] = []
        for producer in forward where !blocks.contains(where: { $0.contains(producer.origin) }) {
            for value in producer.op.writes where list.values[value].kind == .transient {
                let readers = readersOf[value] ?? []
                let backward = readers.filter { list.entries[$0].isBackward }
                guard let first = backward.first, first - (readers.last { !list.entries[$0].isBackward } ?? 0) > nearby else { continue }
                let copy = list.values.addCopy(of: value)
                guard let again = producer.op.recomputation(of: value, into: copy) else { continue }
                for index in backward { list.entries[index].op = list.entries[index].op.renamed { $0 == value ? copy : $0 } }
                insertions.append((first, OpList.Entry(op: again, origin: producer.origin, role: .repeated)))
            }
        }
        for (place, entry) in insertions.sorted(by: { $0.place > $1.place }) { list.entries.insert(entry, at: place) }
    }

    /// Runs a block's forward ops again before its adjoints, on values of their own, and lets the adjoints read those.
    ///
    /// Kept are the values that enter the block, and those that ops outside of it read. What no adjoint needs is not computed again.
    private static func repeatBlock(_ block: Range<Int>, _ list: inout OpList) {
        let entries = list.entries
        let ops = entries[block].map(\.op)
        let adjoints = entries.indices.filter { entries[$0].isBackward && block.contains(entries[$0].origin) }
        guard let start = adjoints.first else { return }
        let own = Set(adjoints)
        var outside: Set<ValueID> = []
        for index in entries.indices where !block.contains(index) && !own.contains(index) { outside.formUnion(entries[index].op.reads) }
        var copies: [ValueID: ValueID] = [:]
        for op in ops {
            for value in op.writes where list.values[value].kind == .transient && !outside.contains(value) && copies[value] == nil {
                copies[value] = list.values.addCopy(of: value)
            }
        }
        let names = copies
        for index in adjoints { list.entries[index].op = list.entries[index].op.renamed { names[$0] ?? $0 } }
        var wanted = Set(adjoints.flatMap { list.entries[$0].op.reads })
        var again: [OpList.Entry] = []
        for (offset, op) in ops.enumerated().reversed() {
            let copy = op.renamed { names[$0] ?? $0 }
            // An op whose results are all kept, or read by no adjoint, does not run again.
            guard copy.writes.contains(where: { wanted.contains($0) && names.values.contains($0) }) else { continue }
            wanted.formUnion(copy.reads)
            again.append(OpList.Entry(op: copy, origin: block.lowerBound + offset, role: .repeated))
        }
        list.entries.insert(contentsOf: again.reversed(), at: start)
        for (value, copy) in names where list.incomplete.contains(value) { list.incomplete.insert(copy) }
    }
}
