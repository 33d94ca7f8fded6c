/// Reverse-mode differentiation of a program: walks the forward ops backwards and lets each emit its own adjoint.
///
/// A value needs a gradient when a trained parameter stands somewhere above it on its path from the inputs; nothing is
/// emitted for the others, so the backward pass stops below the lowest adapter.
package struct Differentiation {
    package internal(set) var values: ValueTable
    package let target: ProgramTarget
    private(set) var entries: [OpList.Entry]
    private let forward: [OpList.Entry]
    /// By value of the forward pass.
    private let needing: [Bool]
    /// By value, what ops so far have left for it.
    private var gradients: [ValueID?]
    private var origin = 0

    init(_ list: OpList) {
        target = list.target
        values = list.values
        entries = list.entries
        forward = list.entries
        var needing = [Bool](repeating: false, count: list.values.values.count)
        for op in forward where op.reads.contains(where: { list.values[$0].kind == .parameter || needing[$0.index] }) {
            for id in op.writes { needing[id.index] = true }
        }
        self.needing = needing
        gradients = Array(repeating: nil, count: needing.count)
    }

    /// The forward ops of `list` followed by their adjoints.
    static func differentiate(_ list: OpList) -> OpList {
        var backward = Differentiation(list)
        for (index, entry) in backward.forward.enumerated().reversed() {
            backward.origin = index
            if entry.writes.contains(where: { backward.gradient(of: $0) != nil }) || entry.op is any LossOp { entry.op.differentiate(&backward) }
        }
        var result = list
        (result.values, result.entries) = (backward.values, backward.entries)
        return result
    }

    /// Does `value` depend on a trained parameter?
    package func needsGradient(_ value: ValueID) -> Bool { value.index < needing.count && needing[value.index] }

    /// The gradient that later ops have left for `value`, if any.
    package func gradient(of value: ValueID) -> ValueID? { value.index < gradients.count ? gradients[value.index] : nil }

    private mutating func keep(_ gradient: ValueID, of value: ValueID) {
        while gradients.count <= value.index { gradients.append(nil) }
        gradients[value.index] = gradient
    }

    /// Adds `gradient` to what later ops have left for `value`.
    package mutating func contribute(_ gradient: ValueID, to value: ValueID) {
        guard let known = self.gradient(of: value) else {
            keep(gradient, of: value)
            return
        }
        let sum = values.add(values[known].name, values[known].shape, values[known].type, .transient)
        append(Add(a: known, b: gradient, out: sum, isGradient: true))
        keep(sum, of: value)
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
        if let known = gradient(of: parameter) { return known }
        let id = values.addGradient(of: parameter, values[parameter].shape, .f32, .parameterGradient)
        keep(id, of: parameter)
        return id
    }

    package mutating func append(_ op: any Op) { entries.append(OpList.Entry(op: op, origin: origin, role: .adjoint)) }
}
