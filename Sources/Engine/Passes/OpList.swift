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

    var firstBackward: Int { entries.firstIndex { $0.isBackward } ?? entries.count }

    /// Entries that name `value`, in order.
    func users(of value: ValueID) -> [Int] {
        entries.indices.filter { entries[$0].op.reads.contains(value) || entries[$0].op.writes.contains(value) }
    }
}
