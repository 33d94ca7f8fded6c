import LorikeetDevices

/// How trained parameters follow their gradients: the values it keeps from step to step and the op that uses them.
///
/// To add one: a file like `AdamW.swift` and a line in `Optimisers.table`.
package protocol Optimiser: Sendable {
    /// Its name in a recipe's `optim`.
    static var name: String { get }
    /// Its persistent values, float32, one element for each trained parameter: what checkpoints call them.
    static var moments: [String] { get }
    /// How many numbers `numbers` gives.
    static var numberCount: Int { get }
    /// Gradients are scaled down to this global L2 norm when theirs is larger; nil: never.
    var maxGradNorm: Double? { get }
    /// What changes from step to step, formed in double precision on the host.
    ///
    /// - Parameter update: 1 for the first update.
    func numbers(learningRate: Double, update: Int) -> [Double]
    /// The op that changes parameters and moments, or leaves all of them as they are where the sum of squares is not finite.
    func op(_ operands: OptimiserOperands) -> any Op
}

package enum Optimisers {
    /// One line an optimiser.
    package static let table: [any Optimiser.Type] = [AdamWSettings.self]
}

/// What an optimiser's op works on; n trained parameters, flat.
package struct OptimiserOperands: Sendable {
    /// float32 [n]: the masters, which the op changes.
    var parameters: ValueID
    /// float32 [n]: of the loss times the loss scale.
    var gradients: ValueID
    /// float32 [n] each, in the order of `Optimiser.moments`.
    var moments: [ValueID]
    /// float64 [1]: the sum of the squared gradients.
    var sumOfSquares: ValueID
    /// float64 [numberCount + 2]: `Optimiser.numbers`, the largest gradient norm (0: no limit), 1 / loss scale.
    var numbers: ValueID
    /// float32 [5]: see `StepState`.
    var state: ValueID

    var reads: [ValueID] { [parameters, gradients] + moments + [sumOfSquares, numbers, state] }
    var writes: [ValueID] { [parameters] + moments + [state] }

    mutating func rename(_ name: Renaming) {
        name(&parameters)
        name(&gradients)
        for i in moments.indices { name(&moments[i]) }
        name(&sumOfSquares)
        name(&numbers)
        name(&state)
    }

    func check(_ operands: inout OperandCheck, numberCount: Int) {
        let shape = operands.shape(parameters)
        for id in [parameters, gradients] + moments { operands.expect(id, "a flat buffer", shape, .f32) }
        operands.expect(sumOfSquares, "sum of squares", [1], .f64)
        operands.expect(numbers, "numbers", [numberCount + 2], .f64)
        operands.expect(state, "step state", [StepState.count], .f32)
    }
}
