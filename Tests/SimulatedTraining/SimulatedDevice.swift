import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetTraining
import Synchronization

/// A clock that stands still unless it is moved.
package final class SettableClock: Clock {
    private let seconds: Mutex<Double>

    package init(_ uptime: Double = 1000) { seconds = Mutex(uptime) }

    package var uptime: Double { seconds.withLock { $0 } }
    package var now: Double { 1.8e9 + uptime }
    package func advance(by duration: Double) { seconds.withLock { $0 += duration } }
}

/// A device for `Trainer` that computes next to nothing: its speed, its faults and what it learns are set. Hours of training pass in milliseconds.
///
/// The trained parameters are one number x, in as many copies as there are elements. The loss is `floor` + (x - t)² / 2 + what the step's records add,
/// where t is 1 and a little that depends on the records. An update takes `learningRate` times the loss's slope off: a rate above 2 diverges, as one
/// that is too high does in a real model.
package final class SimulatedDevice: TrainingDevice {
    /// What is wrong with a micro-batch's results.
    package enum Fault: Sendable, CaseIterable {
        case lossNotANumber, lossInfinite, gradientNotANumber, gradientInfinite, lossAndGradient
    }

    package let trained: TrainedSet
    private let clock: SettableClock
    package var interruption: (@Sendable () -> Bool)?
    package var sharesPrefixes: Bool { false }
    package var lossScaling: LossScaling? { nil }

    /// Seconds of a step, by how many updates this device has made; of an evaluation; of fetching what a checkpoint holds.
    package var secondsOfStep: (Int) -> Double = { _ in 1 }
    package var secondsOfEvaluation = 0.0
    package var secondsOfCheckpoint = 0.0
    /// What is wrong with a micro-batch, given it and how many came before it in this device's life; nil computes it well.
    package var fault: (TokenBatch, Int) -> Fault? = { _, _ in nil }
    /// What a micro-batch's records add to the loss.
    package var added: (TokenBatch) -> Double = { Double($0.ids.reduce(0) { ($0 &* 37 &+ Int($1)) & 0xFFFF }) / 655360 }
    package var floor = 1.0
    /// What an evaluation finds, given its loss and the updates that have changed parameters.
    package var evaluated: (Double, Int) -> Double = { loss, _ in loss }
    /// Updates so far, those that changed nothing among them.
    package private(set) var updates = 0
    private var batches = 0
    private var gradient = 0.0

    /// - Parameters:
    ///   - trained: what is trained; its first values are set to 0.
    ///   - clock: moved by what the device does.
    package init(_ trained: TrainedSet, clock: SettableClock) {
        (self.trained, self.clock) = (trained, clock)
        begin()
    }

    /// Sets the trained parameters to what they begin with.
    package func begin() { trained.floats(.values).update(repeating: 0) }

    package var x: Double { Double(trained.floats(.values).first ?? 0) }

    package func setLossScaling(_ scaling: LossScaling) {}

    package func backward(_ batch: TokenBatch, zeroFirst: Bool) throws -> () throws -> Double {
        if interruption?() == true { throw Interrupted() }
        if zeroFirst { gradient = 0 }
        let weight = batch.targets.indices.reduce(0) { batch.targets[$1] >= 0 ? $0 + Double(batch.weights[$1]) : $0 }
        // Between 0 and 1, by the records.
        let number = Double(batch.ids.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xFFFF }) / 65536
        let distance = x - 1 - 0.1 * (number - 0.5)
        var loss = (floor + added(batch) + distance * distance / 2) * weight
        gradient += distance * weight
        switch fault(batch, batches) {
        case .lossNotANumber: (loss, gradient) = (.nan, .nan)
        case .lossInfinite: (loss, gradient) = (.infinity, .nan)
        case .gradientNotANumber: gradient = .nan
        case .gradientInfinite: gradient = -.infinity
        case .lossAndGradient: (loss, gradient) = (-.infinity, .infinity)
        case nil: break
        }
        batches += 1
        return { [loss] in loss }
    }

    package func submitStep(learningRate: Double, optimiser: any Optimiser) -> () throws -> OptimiserResult {
        clock.advance(by: secondsOfStep(updates))
        updates += 1
        guard gradient.isFinite else { return { OptimiserResult(gradientNorm: .nan, skipped: true) } }
        trained.floats(.values).update(repeating: Float(x - learningRate * gradient))
        var state = trained.state
        state.updates += 1
        trained.state = state
        return { [gradient] in OptimiserResult(gradientNorm: abs(gradient)) }
    }

    package func meanLoss(of samples: SampleSet, tokensPerBatch: Int) throws -> Double? {
        if interruption?() == true { throw Interrupted() }
        clock.advance(by: secondsOfEvaluation)
        return samples.isEmpty ? nil : evaluated(floor + (x - 1) * (x - 1) / 2, Int(trained.state.updates))
    }

    package func pullAdapters() { clock.advance(by: secondsOfCheckpoint) }
    package func pushAdapters() {}
}
