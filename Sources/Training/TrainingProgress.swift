/// Where training stands after a step, or over the steps since the last such report.
package struct TrainingProgress: Sendable, Equatable {
    /// Optimiser steps done, and steps of the whole training.
    package var step: Int
    package var of: Int
    /// Passes over the training records so far, with their fraction.
    package var epoch: Double
    /// Mean over the trained tokens of a step, or over several steps; NaN or infinite where the forward pass overflowed.
    package var loss: Double
    /// The last step's learning rate.
    package var learningRate: Double
    /// The last step's gradient norm before clipping.
    package var gradientNorm: Double
    /// The loss scale of float16 from now on; nil for types that need none.
    package var lossScale: Double?
    /// Tokens of these steps' samples, and those of them that have a loss.
    package var tokens: Int
    package var trainedTokens: Int
    /// Tokens that were computed: fewer where `TrainingSettings.sharesPrefixes` holds.
    package var computedTokens: Int
    /// Seconds that these steps took, without evaluations and checkpoints.
    package var seconds: Double
    /// Predicted seconds of the steps that are left, at the present speed.
    package var secondsLeft: Double

    package var tokensPerSecond: Double { Double(tokens) / max(1e-9, seconds) }
}

/// The present duration of a step: a moving average in which a new step counts a tenth.
struct StepPace {
    private var steps = 0
    private(set) var seconds = 0.0

    mutating func add(_ stepSeconds: Double) {
        // A process's first step also compiles and records; it counts only until there is another.
        seconds = steps < 2 ? stepSeconds : 0.9 * seconds + 0.1 * stepSeconds
        steps += 1
    }
}
