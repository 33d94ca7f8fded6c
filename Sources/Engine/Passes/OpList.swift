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
        var op: any Op
        /// The forward op that this one is, repeats, or is the adjoint of: its place in the forward pass.
        let origin: Int
        let role: OpRole

        /// Whether it belongs to the backward pass.
        var isBackward: Bool { role != .forward }
    }

    var entries: [Entry]
    var values: ValueTable
    /// Values that lack a term from their definition on (see `Op.completes` and `Op.supplies`).
    var incomplete: Set<ValueID> = []
    let target: ProgramTarget

    init(entries: [Entry], values: ValueTable, incomplete: Set<ValueID> = [], target: ProgramTarget) {
        (self.entries, self.values, self.incomplete, self.target) = (entries, values, incomplete, target)
    }

    var firstBackward: Int { entries.firstIndex { $0.isBackward } ?? entries.count }

    /// Entries by the values that they name, in order; of the time when `beginRow` was called.
    private var index: [ValueID: [Int]] = [:]
    private var removed: Set<Int> = []

    /// Prepares `users` and `remove` for one walk over the entries.
    mutating func beginRow() {
        index = [:]
        removed = []
        for (place, entry) in entries.enumerated() {
            for id in Set(entry.op.reads + entry.op.writes) { index[id, default: []].append(place) }
        }
    }

    /// Entries that name `value`, in order.
    func users(of value: ValueID) -> [Int] { (index[value] ?? []).filter { !removed.contains($0) } }

    func isRemoved(_ place: Int) -> Bool { removed.contains(place) }

    /// Takes an entry out; the places of the others stay until `endRow`.
    mutating func remove(_ place: Int) { removed.insert(place) }

    mutating func endRow() {
        if !removed.isEmpty { entries = entries.indices.filter { !removed.contains($0) }.map { entries[$0] } }
        (index, removed) = ([:], [])
    }
}
