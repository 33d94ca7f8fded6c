import Glibc
import LorikeetDevices

/// AdamW's numbers (Loshchilov & Hutter 2017, arXiv:1711.05101); names and meanings are those of torch.optim.AdamW.
package struct AdamWSettings: Optimiser {
    package static let name = "adamw_torch"
    package static let moments = ["first_moment", "second_moment"]
    package static let numberCount = 3

    package var beta1: Double
    package var beta2: Double
    package var epsilon: Double
    package var weightDecay: Double
    package var maxGradNorm: Double?

    package init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0, maxGradNorm: Double? = 1) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.maxGradNorm = maxGradNorm
    }

    package init(_ settings: OptimiserSettings) {
        self.init(
            beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon, weightDecay: settings.weightDecay, maxGradNorm: settings.maxGradNorm)
    }

    /// lr / (1 - beta1^update), 1 / sqrt(1 - beta2^update), 1 - lr * weightDecay.
    package func numbers(learningRate: Double, update: Int) -> [Double] {
        [
            learningRate / (1 - pow(beta1, Double(update))), 1 / (1 - pow(beta2, Double(update))).squareRoot(), 1 - learningRate * weightDecay,
        ]
    }

    package func op(_ operands: OptimiserOperands) -> any Op { AdamW(settings: self, operands: operands) }
}

/// One AdamW step over the flat buffers, after clipping the gradients' global norm:
///
///     g = gradient / lossScale * min(1, maxGradNorm / (norm + 1e-6))      (as torch's clip_grad_norm_)
///     p -= lr * weightDecay * p;   m = b1 m + (1-b1) g;   v = b2 v + (1-b2) g²
///     p -= lr / (1-b1^update) * m / (sqrt(v) / sqrt(1-b2^update) + epsilon)
///
/// Writes the norm before clipping and whether the step was skipped to the step state. A sum of squares that is not finite changes
/// nothing else.
struct AdamW: Op {
    let settings: AdamWSettings
    var operands: OptimiserOperands

    var kind: String { "adamw" }
    var reads: [ValueID] { operands.reads }
    var writes: [ValueID] { operands.writes }

    mutating func rename(_ name: Renaming) { operands.rename(name) }

    func check(_ check: inout OperandCheck) { operands.check(&check, numberCount: AdamWSettings.numberCount) }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: 7 * context.bytes(operands.parameters)) }

    func run(_ context: borrowing CPURun) throws {
        let numbers = try context.doubles(operands.numbers)
        let state = try context.floats(operands.state)
        let norm = try context.doubles(operands.sumOfSquares)[0].squareRoot() * numbers[4]
        state[3] = Float(norm)
        state[4] = norm.isFinite ? 0 : 1
        guard norm.isFinite else { return }
        let clip = numbers[3] > 0 ? min(1, numbers[3] / (norm + 1e-6)) : 1
        AdamWKernels.step(
            values: try context.floats(operands.parameters), gradients: try context.floats(operands.gradients),
            firstMoment: try context.floats(operands.moments[0]), secondMoment: try context.floats(operands.moments[1]),
            count: context.values[operands.parameters].elementCount, numbers: (numbers[0], numbers[1], numbers[2], clip * numbers[4]),
            settings: settings, cpu: context.cpu)
    }

    func run(_ context: borrowing DeviceRun) throws {
        let count = context.values[operands.parameters].elementCount
        let blocks = min((count + 1023) / 1024, 8 * context.device.properties.multiprocessors)
        try context.launch("optimiser", "adamw", blocks: (max(1, blocks), 1, 1), threads: 256) {
            for id in [operands.parameters, operands.gradients, operands.moments[0], operands.moments[1], operands.sumOfSquares] {
                $0.add(try context.address(id))
            }
            $0.add(try context.address(operands.state) + 12)
            $0.add(try context.address(operands.numbers))
            $0.add(count)
            $0.add(Float(settings.beta1))
            $0.add(Float(settings.beta2))
            $0.add(Float(1 - settings.beta1))
            $0.add(Float(1 - settings.beta2))
            $0.add(Float(settings.epsilon))
        }
    }
}
