import LorikeetJSON

/// Something that went wrong in a step, and what was done about it.
package struct TrainingTrouble: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// Gradients left float16's range at the present loss scale.
        case overflow
        /// The loss or the gradients are not finite, whatever the scale.
        case notFinite = "not_finite"
        /// The loss is high (`LossWatch`).
        case spike
        /// It stayed high.
        case divergence
    }

    package enum Action: String, Sendable {
        /// The step was done again.
        case repeated
        /// The step changed nothing.
        case skipped
        /// The step counts as it is.
        case kept
        /// Training went back to an earlier step.
        case rewound
    }

    package let kind: Kind
    package let action: Action
    /// The number of the step, from 1.
    package let step: Int
    /// A sentence for a person.
    package let text: String
    /// The step's loss, where it is what was wrong.
    package var loss: Double?
    /// float16's loss scale from now on; nil for other types.
    package var lossScale: Double?
    /// Steps that were done at the point to which training went back.
    package var toStep: Int?
    /// What the learning rate is multiplied by from now on.
    package var rateFactor: Double?

    package init(_ kind: Kind, _ action: Action, step: Int, _ text: String) { (self.kind, self.action, self.step, self.text) = (kind, action, step, text) }
}

/// What a checkpoint holds of the trouble so far.
package struct TroubleRecord: Sendable, Equatable {
    /// Steps that were done again because of an overflow, and because their loss or gradients were not finite.
    package var overflows = 0
    package var repeated = 0
    /// How often the loss became high.
    package var spikes = 0
    /// How often training went back.
    package var rewinds = 0
    /// Steps that are skipped with their records because they failed in a row and would fail the same way again. Ascending.
    package var excludedSteps: [Range<Int>] = []
    /// Where the learning rate was reduced.
    package var rateChanges: [RateChange] = []

    /// From the step `step` (0 for the first) on, the learning rate is multiplied by `factor`.
    package struct RateChange: Sendable, Equatable {
        package var step: Int
        package var factor: Double
    }

    /// What the schedule's learning rate is multiplied by in a step.
    package func rateFactor(atStep step: Int) -> Double { rateChanges.reduce(1) { $1.step <= step ? $0 * $1.factor : $0 } }
}

extension TroubleRecord {
    /// The record in `trainer_state.json`.
    var entries: [(name: String, value: JSON)] {
        [
            ("rewinds", JSON(rewinds)), ("left_out_steps", .array(excludedSteps.map { [JSON($0.lowerBound), JSON($0.upperBound)] })),
            ("overflowed_steps", JSON(overflows)), ("repeated_steps", JSON(repeated)), ("loss_spikes", JSON(spikes)),
            ("rate_changes", .array(rateChanges.map { ["step": JSON($0.step), "factor": JSON($0.factor)] })),
        ]
    }

    /// nil where a number is out of its range. What older versions did not write may be missing.
    init?(json: JSON) {
        let most = TrainerState.maximumSteps
        let counts = ["rewinds", "overflowed_steps", "repeated_steps", "loss_spikes"].map { json[$0] == nil ? 0 : json[$0]?.int ?? -1 }
        guard counts.allSatisfy({ (0...TrainerState.largest).contains($0) }) else { return nil }
        (rewinds, overflows, repeated, spikes) = (counts[0], counts[1], counts[2], counts[3])
        for entry in json["left_out_steps"]?.array ?? [] {
            let bounds = (entry.array ?? []).compactMap(\.int)
            guard bounds.count == 2, bounds[0] >= 0, bounds[0] < bounds[1], bounds[1] <= most else { return nil }
            excludedSteps.append(bounds[0]..<bounds[1])
        }
        for entry in json["rate_changes"]?.array ?? [] {
            guard let step = entry["step"]?.int, (0...most).contains(step), let factor = entry["factor"]?.double, factor > 0, factor <= 1 else { return nil }
            rateChanges.append(RateChange(step: step, factor: factor))
        }
    }
}
