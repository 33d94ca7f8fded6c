import LorikeetJSON

/// The best evaluation so far, and how many have come since without a better one. The rules are those of transformers: the lowest loss is the best, and
/// `EarlyStoppingCallback` counts evaluations that are not better than it by more than a threshold.
package struct BestEvaluation: Sendable, Equatable {
    /// Steps that were done at the best evaluation; nil before the first with a finite loss.
    package private(set) var step: Int?
    package private(set) var loss = 0.0
    /// Evaluations in a row that were not better by more than the threshold.
    package private(set) var without = 0

    package init() {}

    /// - Returns: whether it is the best so far.
    mutating func add(step: Int, loss: Double, threshold: Double) -> Bool {
        let isBest = loss.isFinite && (self.step == nil || loss < self.loss)
        without = isBest && (self.step == nil || self.loss - loss > threshold) ? 0 : without + 1
        if isBest { (self.step, self.loss) = (step, loss) }
        return isBest
    }

    var json: JSON { ["step": step.map { JSON($0) } ?? .null, "eval_loss": JSON(loss), "without": JSON(without)] }

    /// nil where a number is missing or out of its range.
    init?(json: JSON) {
        guard let loss = json["eval_loss"]?.double, loss.isFinite, let without = json["without"]?.int, (0...TrainerState.largest).contains(without) else {
            return nil
        }
        if json["step"] != JSON.null {
            guard let step = json["step"]?.int, (0...TrainerState.maximumSteps).contains(step) else { return nil }
            self.step = step
        }
        (self.loss, self.without) = (loss, without)
    }
}
