import LorikeetDatasets
import LorikeetEngine

/// What the training loop asks of a model on its device. A run's is `Session`; tests put others in, whose speed and faults they decide.
package protocol TrainingDevice: AnyObject {
    /// The host's copy of what is trained, which checkpoints hold.
    var trained: TrainedSet { get }
    /// Whether batches may hold what texts begin with once.
    var sharesPrefixes: Bool { get }
    /// float16's current loss scale; nil where the activations' type needs none.
    var lossScaling: LossScaling? { get }
    func setLossScaling(_ scaling: LossScaling) throws
    /// Asked while a micro-batch or an evaluation is computed: true ends it with `Interrupted`. An update of the parameters is never interrupted.
    var interruption: (@Sendable () -> Bool)? { get set }

    /// Asks for forward and backward pass of a micro-batch; the gradient is added to the others of the step, or replaces them (`zeroFirst`).
    ///
    /// - Returns: waits, and gives the sum over its tokens of weight * -log p.
    func backward(_ batch: TokenBatch, zeroFirst: Bool) throws -> () throws -> Double
    /// Forward and backward pass of all micro-batches of a step by a device with replicas (`Replicas`); their gradient replaces what there was.
    ///
    /// - Returns: the sum over all tokens of weight * -log p; nil where the device takes one micro-batch after the other, which has done nothing then.
    func backward(atOnce batches: [TokenBatch]) throws -> Double?
    /// Asks for one update of the parameters from the step's gradient, or none where that is not finite; the returned function waits.
    func submitStep(learningRate: Double, optimiser: any Optimiser) throws -> () throws -> OptimiserResult
    /// Mean of -log p over the trained tokens of samples, without dropout; nil where there are none.
    func meanLoss(of samples: SampleSet, tokensPerBatch: Int) throws -> Double?

    /// Copies the trained state from the device to `trained`, and back.
    func pullAdapters() throws
    func pushAdapters() throws
}

extension TrainingDevice {
    package func backward(atOnce batches: [TokenBatch]) throws -> Double? { nil }
}

extension Session: TrainingDevice {
    package var trained: TrainedSet { model.adapters }

    package func backward(_ batch: TokenBatch, zeroFirst: Bool) throws -> () throws -> Double {
        let result = try submit(batch, zeroFirst: zeroFirst)
        return { try result().lossSum }
    }

    package func backward(atOnce batches: [TokenBatch]) throws -> Double? {
        sizes.replicas.count > 1 ? try accumulate(atOnce: batches).reduce(0) { $0 + $1.lossSum } : nil
    }

    package func meanLoss(of samples: SampleSet, tokensPerBatch: Int) throws -> Double? { try loss(of: samples, tokensPerBatch: tokensPerBatch) }
}
