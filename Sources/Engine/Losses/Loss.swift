/// What is minimised: turns the log-probabilities of the targets into one weight a token.
///
/// To add one: a file like `CrossEntropy.swift` and the place that chooses it in `ProgramBuilder.loss`.
package protocol Loss: Sendable {
    /// The op that writes `tokenWeights` [T] float32: minus the derivative of the loss by each log-probability, 0 where not trained.
    ///
    /// - Parameter logProbabilities: float32 [T], of the head.
    func op(logProbabilities: ValueID, tokenWeights: ValueID, inputs: ProgramInputs) -> (any LossOp)?
}

/// The op of a loss.
package protocol LossOp: Op {
    var logProbabilities: ValueID { get }
    var tokenWeights: ValueID { get }
    /// The value that holds the token weights before the forward pass has run; nil where they depend on its result. Where they are
    /// known, the fusion table joins the head's forward and backward passes, so that each chunk of logits is computed once.
    var knownWeights: ValueID? { get }
}

extension LossOp {
    /// The weights are what the head's adjoint takes: see `HeadLogProbabilities.differentiate`.
    package func differentiate(_ backward: inout Differentiation) {
        if backward.needsGradient(logProbabilities) { backward.contribute(tokenWeights, to: logProbabilities) }
    }
}
