/// Reverse-mode differentiation of a program: walks the forward ops backwards and lets each emit its own adjoint.
///
/// A value needs a gradient when a trained parameter stands somewhere above it on its path from the inputs; nothing is
/// emitted for the others, so the backward pass stops below the lowest adapter.
package struct Differentiation {
    package internal(set) var values: ValueTable
    package let target: ProgramTarget
    private(set) var entries: [OpList.Entry]
    private let forward: [OpList.Entry]
    private let needing: Set<ValueID>
    private var gradients: [ValueID: ValueID] = [:]
    private var origin = 0

    init(_ list: OpList) {
        target = list.target
        values = list.values
        entries = list.entries
        forward = list.entries
        var needing: Set<ValueID> = []
        for op in forward where op.reads.contains(where: { list.values[$0].kind == .parameter || needing.contains($0) }) { needing.formUnion(op.writes) }
        self.needing = needing
    }

    /// The forward ops of `list` followed by their adjoints.
    static func differentiate(_ list: OpList) -> OpList {
        var backward = Differentiation(list)
        for (index, entry) in backward.forward.enumerated().reversed() {
            backward.origin = index
            if entry.op is any LossOp || entry.writes.contains(where: { backward.gradient(of: $0) != nil }) { entry.op.differentiate(&backward) }
        }
        var result = list
        (result.values, result.entries) = (backward.values, backward.entries)
        return result
    }

    /// Does `value` depend on a trained parameter?
    package func needsGradient(_ value: ValueID) -> Bool { needing.contains(value) }

    /// The gradient that later ops have left for `value`, if any.
    package func gradient(of value: ValueID) -> ValueID? { gradients[value] }

    /// Adds `gradient` to what later ops have left for `value`.
    package mutating func contribute(_ gradient: ValueID, to value: ValueID) {
        guard let known = gradients[value] else {
            gradients[value] = gradient
            return
        }
        let sum = values.add(values[known].name, values[known].shape, values[known].type, .transient)
        append(Add(a: known, b: gradient, out: sum, isGradient: true))
        gradients[value] = sum
    }

    /// scale * `gradient`, of the residual stream, for an op whose products take the activations' type.
    ///
    /// - Parameter value: whose gradient it is, for the name.
    package mutating func converted(_ gradient: ValueID, of value: ValueID, scale: Float = 1) -> ValueID {
        guard scale != 1 || values[gradient].type != target.element else { return gradient }
        let narrow = values.addGradient(of: value, values[gradient].shape, target.element, .transient)
        append(Convert(x: gradient, out: narrow, scale: scale))
        return narrow
    }

    /// A transient shaped and typed like `value`, named after it, for its gradient.
    package mutating func newGradient(of value: ValueID) -> ValueID {
        values.addGradient(of: value, values[value].shape, values[value].type, .transient)
    }

    package mutating func transient(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID {
        values.add(name, shape, type, .transient)
    }

    /// The flat gradient range of a parameter; backward ops add to it.
    package mutating func gradientOfParameter(_ parameter: ValueID) -> ValueID {
        if let known = gradients[parameter] { return known }
        let id = values.addGradient(of: parameter, values[parameter].shape, .f32, .parameterGradient)
        gradients[parameter] = id
        return id
    }

    package mutating func append(_ op: any Op) { entries.append(OpList.Entry(op: op, origin: origin, role: .adjoint)) }
}
