import LorikeetEngine
import LorikeetJSON

extension Plan {
    /// What a training step computes, and the device's rate in matrix products: the limit that a speed is compared with.
    package struct Limit: Sendable, Equatable {
        /// Elements of the frozen matrices without the head: each token meets them in the forward and in the backward pass.
        package var matrixParameters: Int
        /// Elements of the head, which only tokens with a loss meet.
        package var headParameters: Int
        /// Floating-point operations a second in large matrix products. For a card the number is from the table of `DeviceModel`; for the
        /// processor it was measured for the plan.
        package var productFlops: Double
        /// Predicted seconds of one micro-batch by kind of op.
        package var ops: [Program.OpSeconds]

        package init(matrixParameters: Int, headParameters: Int, productFlops: Double, ops: [Program.OpSeconds]) {
            self.matrixParameters = matrixParameters
            self.headParameters = headParameters
            self.productFlops = productFlops
            self.ops = ops
        }

        /// The share (0 to 1) of the limit, as `lorikeet bench` counts it: 4 floating-point operations for each matrix element and token
        /// (2 forward, 2 for the input's gradient), divided by those the device could do in the same time.
        package func share(tokens: Int, trainedTokens: Int, seconds: Double) -> Double? {
            guard productFlops > 0, seconds > 0 else { return nil }
            let flops = 4 * (Double(matrixParameters) * Double(tokens) + Double(headParameters) * Double(trainedTokens))
            return flops / seconds / productFlops
        }

        var json: JSON {
            [
                "matrix_parameters": JSON(matrixParameters), "head_parameters": JSON(headParameters), "product_flops_per_second": .number(productFlops),
                "ops": .array(ops.map { ["op": .string($0.kind), "count": JSON($0.count), "seconds": .number($0.seconds)] }),
            ]
        }
    }

    /// Predicted seconds until the run's end when `step` of `total` training steps are done.
    ///
    /// - Parameter trainingLeft: seconds of the steps that are left, as measured.
    package func secondsLeft(afterStep step: Int, of total: Int, trainingLeft: Double) -> Double {
        let share = total > 0 ? Double(max(0, total - step)) / Double(total) : 0
        return phases.reduce(trainingLeft) { left, phase in
            switch phase.name {
            case "training": left
            case "evaluation", "checkpoints": left + phase.seconds * share
            default: Self.beginning.contains(phase.name) ? left : left + phase.seconds
            }
        }
    }
}
