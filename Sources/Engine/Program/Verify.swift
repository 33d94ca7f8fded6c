import LorikeetGround

extension Program {
    /// Checks that the program is sound: every operand has the shape and element type that its op expects, every value read was written
    /// before, nothing is overwritten while it is still needed, and an incomplete value (`Program.incomplete`) is read only by ops that
    /// complete it or add the missing term themselves.
    ///
    /// - Throws: exit 4, naming the first op and value at fault. A violation is a mistake in a family or a pass, never in a user's input.
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

/// Visits a program's ops in the order in which they run and collects violations.
private struct Verification {
    private let program: Program
    private(set) var violations: [String] = []
    private var written: Set<ValueID> = []
    /// For each value that a forward or recomputed op wrote again after its first write: the origin of the last such op.
    private var lastUpdate: [ValueID: Int] = [:]
    /// Values that lack a term at this point of the walk.
    private var incomplete: Set<ValueID> = []
    /// Values that are being copied to the host's memory.
    private var departing: Set<ValueID> = []

    init(_ program: Program) { self.program = program }

    mutating func visit(_ index: Int) {
        let op = program.ops[index]
        var operands = OperandCheck(values: program.values, target: program.target)
        op.check(&operands)
        for violation in operands.violations { report(index, violation) }
        for id in op.reads { checkRead(id, op, index) }
        for id in op.writes { checkWrite(id, op, index) }
        if let park = op as? Park { departing.insert(park.x) } else if let end = op as? ParkEnd { departing.remove(end.x) }
    }

    private mutating func report(_ index: Int, _ what: String) { violations.append("op \(index) (\(program.ops[index].kind)): \(what)") }

    /// Whether the value has its content before the program runs.
    private func isGiven(_ id: ValueID) -> Bool {
        switch program.values[id].kind {
        case .transient, .output, .parked: false
        default: true
        }
    }

    private mutating func checkRead(_ id: ValueID, _ op: any Op, _ index: Int) {
        let name = program.values[id].name
        if !isGiven(id), !written.contains(id) { report(index, "reads '\(name)' before anything has written it") }
        if incomplete.contains(id), !op.completes.contains(id), !op.supplies.contains(id) {
            report(index, "reads '\(name)', which lacks a term or is still being copied, without completing it")
        }
        // LoRA's ops complete values in the plain program too, where no value is marked as incomplete.
        let completesMarked = program.incomplete.contains(id) && op.completes.contains(id)
        if !incomplete.contains(id), completesMarked || op.supplies.contains(id) {
            report(index, "adds a term to '\(name)' that it does not lack")
        }
        // An adjoint reads what its forward op read: nothing later in the forward pass may have changed it.
        if program.roles[index] != .forward, let update = lastUpdate[id], update > program.origins[index] {
            report(index, "reads '\(name)', which op \(update) of the forward pass has overwritten")
        }
    }

    private mutating func checkWrite(_ id: ValueID, _ op: any Op, _ index: Int) {
        let value = program.values[id]
        if value.kind == .input || value.kind == .parameter || value.kind == .weight {
            report(index, "writes '\(value.name)', which only the caller may write")
        }
        if departing.contains(id) { report(index, "writes '\(value.name)' while it is being copied") }
        let inPlace = op.reads.contains(id)
        if !inPlace, written.contains(id), value.kind == .transient { report(index, "overwrites '\(value.name)', which another op has written") }
        if !written.insert(id).inserted, program.roles[index] != .adjoint { lastUpdate[id] = program.origins[index] }
        if op.completes.contains(id) { incomplete.remove(id) } else if !inPlace, program.incomplete.contains(id) { incomplete.insert(id) }
    }
}
