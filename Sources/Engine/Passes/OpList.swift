/// What an op is in its program.
enum OpRole: Sendable {
    case forward
    /// A forward op, or a cheaper form of it, that runs again in the backward pass.
    case repeated
    case adjoint
}

/// The ops of a program while passes work on them.
struct OpList {
    /// An op with what the passes know of it.
    struct Entry {
        var op: any Op { didSet { (reads, writes) = (op.reads, op.writes) } }
        /// The op's: passes ask for them again and again, and an op makes these lists anew each time.
        private(set) var reads: [ValueID]
        private(set) var writes: [ValueID]
        /// The forward op that this one is, repeats, or is the adjoint of: its place in the forward pass.
        let origin: Int
        let role: OpRole

        init(op: any Op, origin: Int, role: OpRole) {
            (self.op, self.origin, self.role) = (op, origin, role)
            (reads, writes) = (op.reads, op.writes)
        }

        /// Gives values of the op other names; most ops of a program have none of them, and are left alone.
        mutating func rename(_ names: [ValueID: ValueID]) {
            guard reads.contains(where: { names[$0] != nil }) || writes.contains(where: { names[$0] != nil }) else { return }
            op = op.renamed { names[$0] ?? $0 }
        }

        /// Whether it belongs to the backward pass.
        var isBackward: Bool { role != .forward }
    }

    var entries: [Entry]
    var values: ValueTable
    /// Values that lack a term from their first write on (see `Op.completes` and `Op.supplies`).
    var incomplete: Set<ValueID> = []
    let target: ProgramTarget

    init(entries: [Entry], values: ValueTable, incomplete: Set<ValueID> = [], target: ProgramTarget) {
        (self.entries, self.values, self.incomplete, self.target) = (entries, values, incomplete, target)
    }

    var firstBackward: Int { entries.firstIndex { $0.isBackward } ?? entries.count }

    /// Puts entries before the places that now have these numbers.
    mutating func insert(_ insertions: [Int: [Entry]]) {
        guard !insertions.isEmpty else { return }
        var result: [Entry] = []
        result.reserveCapacity(entries.count + insertions.values.reduce(0) { $0 + $1.count })
        for (place, entry) in entries.enumerated() {
            result += insertions[place] ?? []
            result.append(entry)
        }
        entries = result
    }
}
