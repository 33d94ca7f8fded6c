import LorikeetDevices
import LorikeetGround

/// What an optimiser step keeps beside parameters and moments, as one persistent value of five float32 numbers.
package struct StepState: Sendable, Equatable {
    /// The loss is multiplied by this factor before the backward pass.
    package var lossScale: Float = 1
    /// Steps since the loss scale last changed; negative where the activations' type needs no scale.
    package var goodSteps: Float = -1
    /// Updates so far; AdamW's bias corrections depend on it.
    package var updates: Float = 0
    /// The gradients' L2 norm before clipping, in the last step.
    package var gradientNorm: Float = 0
    /// 1 where the last step changed nothing because its gradients were not finite.
    package var skipped: Float = 0

    /// The number of elements.
    static let count = 5

    package init() {}

    /// - Parameter numbers: `count` elements in the order of `numbers`.
    init(_ numbers: [Float]) {
        (lossScale, goodSteps, updates, gradientNorm, skipped) = (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])
    }

    var numbers: [Float] { [lossScale, goodSteps, updates, gradientNorm, skipped] }
}

/// Names of persistent values: they outlive a run of a program, are shared between programs by name, and are kept in checkpoints unless said
/// otherwise.
package enum PersistentName {
    /// float32 [n]: every trained tensor, flat, in the order of `TrainedLayout`.
    package static let parameters = "parameters"
    /// float32 [n], in the same order: the gradient of the loss times the loss scale. Not part of a checkpoint.
    package static let gradients = "gradients"
    /// [n]: the parameters in the activations' type, which a card's matrix products read. Not part of a checkpoint.
    package static let narrow = "parameters, in the activations' type"
    /// float32 [5]: see `StepState`.
    package static let state = "step_state"
}

/// The program of an optimiser step: gradient norm, clipping, the check for gradients that are not finite, the update, the loss scale.
///
/// It shares its persistent values with the micro-batch programs. Sessions, plans and checkpoints take names, sizes and order of the trained
/// state from this program.
package enum StepProgram {
    /// - Parameters:
    ///   - count: the number of trained parameters (n); 0 gives a program without ops.
    ///   - settings: the optimiser whose op is added; nil adds that of its default settings, which has the same values and work.
    package static func build(count: Int, optimiser: any Optimiser.Type, settings: (any Optimiser)? = nil, target: ProgramTarget) -> Program {
        var values = ValueTable()
        func persistent(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID { values.add(name, shape, type, .persistent) }
        let parameters = persistent(PersistentName.parameters, [count])
        let gradients = persistent(PersistentName.gradients, [count])
        let moments = optimiser.moments.map { persistent($0, [count]) }
        let state = persistent(PersistentName.state, [StepState.count])
        // See `OptimiserOperands.numbers`.
        let numbers = values.add("numbers", [optimiser.numberCount + 2], .f64, .input)
        let sum = values.add("sum of squares", [1], .f64, .transient)
        var ops: [any Op] = []
        if count > 0 {
            let partials = values.add("partial sums", [(count + GradientNorm.blockLength - 1) / GradientNorm.blockLength], .f64, .transient)
            ops.append(GradientNorm(gradients: gradients, partials: partials, sumOfSquares: sum))
            ops.append(
                (settings ?? optimiser.init(OptimiserSettings())).op(
                    OptimiserOperands(
                        parameters: parameters, gradients: gradients, moments: moments, sumOfSquares: sum, numbers: numbers, state: state)))
            ops.append(LossScaleUpdate(state: state, dynamic: target.element == .f16))
        }
        if target.isDevice {
            let narrow = persistent(PersistentName.narrow, [count], target.element)
            if count > 0 { ops.append(NarrowParameters(parameters: parameters, narrow: narrow)) }
        }
        // An update reads no tokens: the inputs that every other program has are this program's only one.
        var inputs = ProgramInputs(ids: numbers, positions: numbers)
        inputs.numbers = numbers
        return Program(
            purpose: .step, target: target, tokens: 0, values: values, ops: ops, origins: Array(ops.indices),
            roles: ops.map { _ in .forward }, firstBackwardOp: ops.count, inputs: inputs, outputs: ProgramOutputs(),
            schedule: Schedule(values: values, ops: ops, alignment: target.alignment), incomplete: [])
    }
}

extension Program {
    /// Persistent values in the order in which they were added.
    package var persistentValues: [Value] { values.values.filter { $0.kind == .persistent } }

    /// Bytes of one block that holds the persistent values, each aligned as arena values are.
    package var persistentBytes: Int { persistentValues.reduce(0) { $0 + $1.byteCount.roundedUp(toMultipleOf: target.alignment) } }

    /// The persistent values that a checkpoint holds, in order.
    package var checkpointValues: [Value] {
        persistentValues.filter { $0.name != PersistentName.gradients && $0.name != PersistentName.narrow }
    }
}
