/// Which transients are computed again in the backward pass instead of being kept from the forward pass.
package enum RecomputePolicy: String, Sendable, CaseIterable {
    case nothing
    /// The outputs of normalisations (from their input and 1/rms, which are kept) and products of gated activations.
    case norms
}

/// Reverse-mode differentiation of a program: walks the forward ops backwards and lets each emit its own adjoint.
///
/// A value needs a gradient when a trained parameter stands somewhere above it on its path from the inputs; nothing is
/// emitted for the others, so the backward pass stops below the lowest adapter.
package struct Differentiation {
    package private(set) var values: ValueTable
    package private(set) var ops: [any Op] = []
    private let forward: [any Op]
    private let policy: RecomputePolicy
    package let target: ProgramTarget
    private let needing: Set<ValueID>
    private let producer: [ValueID: Int]
    private var gradients: [ValueID: ValueID] = [:]
    private var copies: [ValueID: ValueID] = [:]

    init(values: ValueTable, forward: [any Op], policy: RecomputePolicy, target: ProgramTarget) {
        self.target = target
        self.values = values
        self.forward = forward
        self.policy = policy
        var needing: Set<ValueID> = []
        var producer: [ValueID: Int] = [:]
        for (index, op) in forward.enumerated() {
            let trains = op.reads.contains { values[$0].kind == .parameter || needing.contains($0) }
            for id in op.writes {
                if producer[id] == nil { producer[id] = index }
                if trains { needing.insert(id) }
            }
        }
        self.needing = needing
        self.producer = producer
    }

    mutating func run() {
        for op in forward.reversed() where op.writes.contains(where: { gradients[$0] != nil }) || op is HeadLoss {
            op.differentiate(&self)
        }
    }

    /// Does `value` depend on a trained parameter?
    package func needsGradient(_ value: ValueID) -> Bool { needing.contains(value) }

    /// The gradient that later ops have left for `value`, if any.
    package func gradient(of value: ValueID) -> ValueID? { gradients[value] }

    /// States that `gradient` is the whole gradient of `value` so far; the op has included what `gradient(of:)` returned.
    package mutating func setGradient(of value: ValueID, to gradient: ValueID) {
        gradients[value] = gradient
    }

    /// A transient shaped and typed like `value`, named after it, for its gradient.
    package mutating func newGradient(of value: ValueID) -> ValueID {
        values.add("d.\(values[value].name)", values[value].shape, values[value].type, .transient)
    }

    package mutating func transient(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID {
        values.add(name, shape, type, .transient)
    }

    /// The flat gradient range of a parameter; backward ops add to it.
    package mutating func gradientOfParameter(_ parameter: ValueID) -> ValueID {
        if let known = gradients[parameter] { return known }
        let value = values[parameter]
        let id = values.add("d.\(value.name)", value.shape, .f32, .parameterGradient, flatOffset: value.flatOffset)
        gradients[parameter] = id
        return id
    }

    /// A forward value for a backward op to read: itself, or a copy computed again where the policy says so.
    package mutating func primal(_ value: ValueID) -> ValueID {
        guard policy == .norms, values[value].kind == .transient else { return value }
        if let copy = copies[value] { return copy }
        guard let index = producer[value] else { return value }
        let copy = values.add(values[value].name + "'", values[value].shape, values[value].type, .transient)
        guard let again = forward[index].recomputation(of: value, into: copy) else { return value }
        ops.append(again)
        copies[value] = copy
        return copy
    }

    package mutating func append(_ op: any Op) { ops.append(op) }

    /// The op emitted last, for one that can do its successor's work on the way.
    package var lastOp: (any Op)? { ops.last }

    package mutating func replaceLast(with op: any Op) {
        ops.removeLast()
        ops.append(op)
    }
}
