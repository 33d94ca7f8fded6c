import LorikeetGround

extension Program {
    /// Checks that the program is sound: shapes and element types of every operand, every value read was written, nothing is overwritten
    /// while it is still needed, and a value that lacks a term is read only by ops that complete it or add the term themselves.
    ///
    /// - Throws: naming op and value. A violation is a mistake in a family or a pass, never in a user's input.
    package func verify() throws {
        guard let first = violations().first else { return }
        throw LorikeetError.machine("the \(purpose.label) program is not sound: \(first)", fix: "report this with lorikeet plan --explain's output")
    }

    /// Every violation, as `op number (kind): what`.
    package func violations() -> [String] {
        var check = Verification(self)
        for index in ops.indices { check.visit(index) }
        return check.violations + overlaps() + unusedTensors.map { "no op uses the trained tensor '\($0)'" }
    }

    /// Values that share bytes of the arena while both are alive.
    private func overlaps() -> [String] {
        let placed = values.ids.compactMap { id -> (id: ValueID, start: Int, end: Int, lifetime: ClosedRange<Int>)? in
            guard let offset = schedule.offsets[id.index], let lifetime = schedule.lifetimes[id.index] else { return nil }
            return (id, offset, offset + values[id].byteCount, lifetime)
        }.sorted { $0.start < $1.start }
        var violations: [String] = []
        for (i, a) in placed.enumerated() {
            for b in placed[(i + 1)...].prefix(while: { $0.start < a.end }) where b.lifetime.overlaps(a.lifetime) {
                violations.append("'\(values[a.id].name)' and '\(values[b.id].name)' share bytes of the arena while both are alive")
            }
        }
        return violations
    }
}

/// Walks a program in the order in which it runs.
private struct Verification {
    private let program: Program
    private(set) var violations: [String] = []
    private var written: Set<ValueID> = []
    /// The origin of the last op that changed a value of the forward pass after its definition.
    private var lastUpdate: [ValueID: Int] = [:]
    private var incomplete: Set<ValueID> = []

    init(_ program: Program) { self.program = program }

    mutating func visit(_ index: Int) {
        let op = program.ops[index]
        var operands = OperandCheck(values: program.values, target: program.target)
        op.check(&operands)
        for violation in operands.violations { report(index, violation) }
        for id in op.reads { checkRead(id, op, index) }
        for id in op.writes { checkWrite(id, op, index) }
    }

    private mutating func report(_ index: Int, _ what: String) { violations.append("op \(index) (\(program.ops[index].kind)): \(what)") }

    /// Values that exist before the program runs.
    private func isGiven(_ id: ValueID) -> Bool {
        switch program.values[id].kind {
        case .transient, .output: false
        default: true
        }
    }

    private mutating func checkRead(_ id: ValueID, _ op: any Op, _ index: Int) {
        let name = program.values[id].name
        if !isGiven(id), !written.contains(id) { report(index, "reads '\(name)' before anything has written it") }
        if incomplete.contains(id), !op.completes.contains(id), !op.supplies.contains(id) {
            report(index, "reads '\(name)', which lacks a term, without adding it")
        }
        if !incomplete.contains(id), program.incomplete.contains(id) && op.completes.contains(id) || op.supplies.contains(id) {
            report(index, "adds a term to '\(name)' that it does not lack")
        }
        // An adjoint reads what its forward op read: nothing later in the forward pass may have changed it.
        if program.roles[index] != .forward, let update = lastUpdate[id], update > program.origins[index] {
            report(index, "reads '\(name)', which op \(update) of the forward pass has overwritten")
        }
    }

    private mutating func checkWrite(_ id: ValueID, _ op: any Op, _ index: Int) {
        let value = program.values[id]
        if value.kind == .input || value.kind == .parameter || value.kind == .weight { report(index, "writes '\(value.name)', which is given") }
        let updates = op.reads.contains(id)
        if !updates, written.contains(id), value.kind == .transient { report(index, "overwrites '\(value.name)', which another op has written") }
        if !written.insert(id).inserted, program.roles[index] != .adjoint { lastUpdate[id] = program.origins[index] }
        if op.completes.contains(id) { incomplete.remove(id) } else if !updates, program.incomplete.contains(id) { incomplete.insert(id) }
    }
}
