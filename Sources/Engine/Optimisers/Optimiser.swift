import LorikeetDevices

/// An optimiser: the values that it keeps from step to step, and the op that updates parameters and these values from the gradients.
///
/// To add one: a file like `AdamW.swift` and a line in `Optimisers.table`.
package protocol Optimiser: Sendable, Hashable {
    /// Its name in a recipe's `optim`.
    static var name: String { get }
    /// Names of its persistent values, in programs and checkpoints; each is float32 with one element for each trained parameter.
    static var moments: [String] { get }
    /// The number of elements that `numbers` returns.
    static var numberCount: Int { get }
    /// - Parameter settings: what a recipe says.
    init(_ settings: OptimiserSettings)
    /// Gradients with a larger global L2 norm are scaled down to this one; nil never scales them.
    var maxGradNorm: Double? { get }
    /// Inputs of the op that change from step to step (learning rate, bias corrections), computed in double precision on the host.
    ///
    /// - Parameter update: 1 for the first update.
    func numbers(learningRate: Double, update: Int) -> [Double]
    /// The op that changes parameters and moments, or leaves all of them as they are where the sum of squares is not finite.
    func op(_ operands: OptimiserOperands) -> any Op
}

/// What a recipe says about an optimiser; each takes what it has use for.
package struct OptimiserSettings: Sendable, Hashable {
    package var beta1 = 0.9
    package var beta2 = 0.999
    package var epsilon = 1e-8
    package var weightDecay = 0.0
    package var maxGradNorm: Double? = 1

    package init() {}
}

package enum Optimisers {
    /// One line an optimiser; the first where a recipe names none of these.
    package static let table: [any Optimiser.Type] = [AdamWSettings.self]

    package static func named(_ name: String) -> any Optimiser.Type { table.first { $0.name == name } ?? AdamWSettings.self }
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
