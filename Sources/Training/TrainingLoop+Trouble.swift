import LorikeetEngine
import LorikeetGround

/// What is done about trouble (docs/decisions/0018-trouble-in-training.md), and how it is told.
extension TrainingLoop {
    // MARK: going back

    /// Goes back where steps failed or losses were high for too long.
    ///
    /// - Returns: whether it did.
    /// - Throws: exit 1 where there is nothing to go back to, or training has gone back too often.
    mutating func wentBack(after outcome: StepOutcome) throws -> Bool {
        if state.unrecoverable >= Trainer.maximumUnrecoverableSteps {
            try goBackFromFailures()
            return true
        }
        guard outcome.loss.isFinite else { return false }
        switch state.watch.add(outcome.loss) {
        case .usual: return false
        case .high(let limit):
            if state.watch.high == 1 {
                state.trouble.spikes += 1
                try report(.spike, .kept, loss: outcome.loss, "the loss of step \(state.step) is \(Figures.loss(outcome.loss)), above \(Figures.loss(limit))")
            }
            return false
        case .diverged(let limit):
            // In the records' own order they may have become other records.
            guard settings.shuffle else {
                state.watch = LossWatch()
                try trainer.report(
                    .warning("\(risen(limit)); since the records are not shuffled it is taken to be theirs, and training goes on"))
                return false
            }
            try goBackFromDivergence(limit)
            return true
        }
    }

    /// Before the steps that failed, whose records are left out: they would fail the same way again.
    private mutating func goBackFromFailures() throws {
        let failed = (state.step - Trainer.maximumUnrecoverableSteps)..<state.step
        let what = "steps \(failed.lowerBound + 1) to \(failed.upperBound) had gradients or losses that are not finite"
        var record = state.trouble
        record.excludedSteps.append(failed)
        let fix = "look at those records, lower learning_rate, or say compute_type float32 (bfloat16 on a card from 8.0 on)"
        try goBack(to: failed.lowerBound, record, .notFinite, what: what, fix: fix, then: "leaves their records out")
    }

    /// To the last losses that were all usual, from where the learning rate is half of what it was.
    private mutating func goBackFromDivergence(_ limit: Double) throws {
        let from = max(0, state.step - LossWatch.patience - LossWatch.length)
        var record = state.trouble
        record.rateChanges.append(.init(step: from, factor: 0.5))
        let fix = "lower learning_rate, raise warmup_steps, or look at the records of these steps"
        try goBack(
            to: from, record, .divergence, what: risen(limit), fix: fix,
            then: "halves the learning rate from step \(from + 1) on, to \(Figures.number(record.rateFactor(atStep: from))) of the schedule's")
    }

    private func risen(_ limit: Double) -> String {
        "the loss of \(LossWatch.patience) steps in a row, \(state.step - LossWatch.patience + 1) to \(state.step), is above \(Figures.loss(limit))"
    }

    /// Goes back to a checkpoint of at most `step` steps, or to the beginning. Which one does not matter for the bits: every step up to `step` is the
    /// same again.
    private mutating func goBack(
        to step: Int, _ record: TroubleRecord, _ kind: TrainingTrouble.Kind, what: String, fix: String, then: String
    ) throws {
        guard state.trouble.rewinds < Trainer.maximumRewinds else {
            throw LorikeetError(
                .checkFailed, "\(what); training has gone back \(state.trouble.rewinds) times and the last checkpoint is kept", fix: fix)
        }
        let number = state.step
        guard var earlier = try restored(notAfter: step) ?? beginning() else {
            throw LorikeetError(.checkFailed, "\(what); there is no checkpoint to go back to", fix: fix)
        }
        try device.pushAdapters()
        (earlier.trouble, earlier.changes, earlier.unrecoverable) = (record, state.changes, 0)
        (earlier.seconds, earlier.timedTokens) = (state.seconds, state.timedTokens)
        earlier.trouble.rewinds += 1
        state = earlier
        // Later ones are of what is given up; the one that is left holds the change before it takes effect.
        try trainer.checkpoints.remove(after: state.step)
        try save()
        let place = state.step > 0 ? "to the checkpoint of step \(state.step)" : "to the beginning"
        var trouble = TrainingTrouble(kind, .rewound, step: number, "\(what): training goes back \(place) and \(then)")
        (trouble.toStep, trouble.rateFactor) = (state.step, state.trouble.rateFactor(atStep: .max))
        trouble.lossScale = scale
        try trainer.report(.trouble(trouble))
    }

    /// The state before the first step, with the trained parameters on the host as they were then; nil where that is not known.
    private func beginning() throws -> TrainerState? {
        guard let restart = trainer.restart else { return nil }
        for value in device.trained.program.checkpointValues { device.trained.floats(named: value.name).update(repeating: 0) }
        try restart()
        // Where the type needs a loss scale, it begins anew with the push to the device.
        device.trained.state = StepState()
        return TrainerState()
    }

    // MARK: reports

    private var scale: Double? { device.lossScaling.map { Double($0.scale) } }

    private func report(_ kind: TrainingTrouble.Kind, _ action: TrainingTrouble.Action, step: Int? = nil, loss: Double? = nil, _ text: String) throws {
        var trouble = TrainingTrouble(kind, action, step: step ?? state.step, text)
        (trouble.loss, trouble.lossScale) = (loss, scale)
        try trainer.report(.trouble(trouble))
    }

    func reportOverflow(from scale: Float) throws {
        let smaller = Int(device.lossScaling?.scale ?? LossScaling.smallest)
        let step = state.step + 1
        try report(.overflow, .repeated, step: step, "step \(step) overflowed at loss scale \(Int(scale)) and is done again at \(smaller)")
    }

    func reportRepeated(_ loss: Double) throws {
        let what = loss.isFinite ? "the gradients of step \(state.step + 1) are" : "the loss of step \(state.step + 1) is"
        try report(.notFinite, .repeated, step: state.step + 1, loss: loss, "\(what) not finite: the step is done again")
    }

    /// Of the step that was just counted: that it changed nothing, or has no loss.
    func reportMissing(_ outcome: StepOutcome) throws {
        if outcome.skipped {
            let range = scale.map { "its gradients left float16's range; the loss scale is \(Figures.scientific($0)) now" } ?? "its gradients are not finite"
            let why = outcome.loss.isFinite ? range : "its loss is not finite"
            try report(.notFinite, .skipped, loss: outcome.loss, "step \(state.step) changed nothing: \(why)")
        } else if !outcome.loss.isFinite {
            try report(.notFinite, .kept, loss: outcome.loss, "the loss of step \(state.step) is not finite; its gradients are, and the step counts")
        }
    }
}
