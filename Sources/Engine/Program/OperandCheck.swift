/// Collects what an op requires of its operands and compares it with the program's values.
///
/// Shapes are given with the letters of `docs/layout.md`: T tokens, C hidden size, V vocabulary, H/K heads, D head size.
package struct OperandCheck {
    /// The element type that an operand must have.
    package enum Expected: Sendable {
        /// The type of activations.
        case activation
        /// The type of the residual stream and of its gradient.
        case residual
        /// Either of the two.
        case activationOrResidual
        case f32, i32, f64
    }

    let values: ValueTable
    let target: ProgramTarget
    private(set) var violations: [String] = []

    init(values: ValueTable, target: ProgramTarget) {
        self.values = values
        self.target = target
    }

    /// The shape of an operand, of which others are derived.
    package func shape(_ id: ValueID) -> [Int] { values[id].shape }

    /// - Parameters:
    ///   - shape: nil accepts every shape.
    ///   - operand: what the op calls it.
    package mutating func expect(_ id: ValueID?, _ operand: String, _ shape: [Int]?, _ expected: Expected) {
        guard let id else { return }
        let value = values[id]
        if let shape, value.shape != shape { violations.append("\(operand) '\(value.name)' has shape \(value.shape), not \(shape)") }
        let allowed: [ValueType] =
            switch expected {
            case .activation: [target.element]
            case .residual: [target.residual]
            case .activationOrResidual: [target.element, target.residual]
            case .f32: [.f32]
            case .i32: [.i32]
            case .f64: [.f64]
            }
        if !allowed.contains(value.type) {
            violations.append("\(operand) '\(value.name)' is \(value.type.rawValue), not \(allowed.map(\.rawValue).joined(separator: " or "))")
        }
    }

    /// Requires a condition that shapes and types alone do not state.
    package mutating func require(_ condition: Bool, _ violation: @autoclosure () -> String) {
        if !condition { violations.append(violation()) }
    }
}
