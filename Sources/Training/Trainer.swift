import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

/// An event that training reports while it runs.
package enum TrainingEvent: Sendable {
    /// Every step.
    case step(TrainingProgress)
    /// Every `loggingSteps` steps and after the last: the mean loss and the speed since the last such event.
    case log(TrainingProgress)
    /// The mean loss over the trained tokens of `rows` held-out samples.
    case evaluation(step: Int, of: Int, epoch: Double, loss: Double, rows: Int, seconds: Double)
    /// A checkpoint was saved.
    case checkpoint(step: Int)
    /// The step's gradients were not finite and it changed no parameter. `lossScale` is float16's scale from now on, nil for other types.
    case skipped(step: Int, lossScale: Double?)
    case warning(String)
}

/// How training ended.
package struct TrainingResult: Sendable {
    package let state: TrainerState
    package let totalSteps: Int
    /// Mean loss over all steps that had a finite one.
    package var trainLoss: Double { state.meanLoss }
    /// All tokens of the steps' samples divided by the seconds that the steps took.
    package var tokensPerSecond: Double { state.seconds > 0 ? Double(state.tokens) / state.seconds : 0 }
    /// False where training was stopped early, with everything saved.
    package var finished: Bool { state.step >= totalSteps }
}

/// The training loop: sampler, steps, evaluation, checkpoints, stopping.
///
/// The order of samples and the dropout masks are functions of (seed, epoch, record), so a checkpoint holds all of the loop's state.
package struct Trainer {
    package let session: Session
    package let settings: TrainingSettings
    package let checkpoints: CheckpointStore
    package let clock: any Clock
    /// Called before every step: true (after a signal, at a deadline) saves a checkpoint and ends training.
    package let shouldStop: @Sendable () -> Bool
    package let report: (TrainingEvent) throws -> Void

    package init(
        session: Session, settings: TrainingSettings, checkpoints: CheckpointStore, clock: any Clock,
        shouldStop: @escaping @Sendable () -> Bool = { false }, report: @escaping (TrainingEvent) throws -> Void
    ) {
        self.session = session
        self.settings = settings
        self.checkpoints = checkpoints
        self.clock = clock
        self.shouldStop = shouldStop
        self.report = report
    }

    /// Unrecoverable steps in a row after which training returns to its last checkpoint. A step is unrecoverable when it was skipped and no
    /// smaller loss scale could have helped.
    package static let maximumUnrecoverableSteps = 10
    /// Returns to a checkpoint after which training ends with an error.
    package static let maximumRewinds = 3

    /// Trains to the end, from the newest checkpoint if there is one.
    ///
    /// - Throws: exit 4 when a checkpoint cannot be written; exit 1 when gradients or losses stay not finite after several returns to a
    ///   checkpoint. Earlier checkpoints stay.
    package func run(train: SampleSet, validation: SampleSet) throws -> TrainingResult {
        let total = settings.totalSteps(samples: train.count)
        let source = StepBatches(settings: settings, samples: train, sharing: session.sharesPrefixes)
        var state = try restored() ?? TrainerState()
        // A process that was killed right after a save may have left more checkpoints than `saveTotalLimit`.
        if state.step > 0 { try checkpoints.removeOld(upTo: state.step, limit: settings.saveTotalLimit) }
        try session.pushAdapters()
        let evaluationSubset = validation.subset(
            randomSubset(of: validation.count, wanted: settings.evalSamples, seed: settings.seed, purpose: .evaluationSubset))
        var since = Window(state: state)
        var pace = StepPace()
        var lastSave = clock.uptime
        while state.step < total {
            if shouldStop() {
                try save(&state)
                return TrainingResult(state: state, totalSteps: total)
            }
            if state.skipExcludedStep() { continue }
            let outcome = try step(state, of: total, source)
            state.add(outcome)
            pace.add(outcome.seconds)
            try report(.step(progress(state, outcome, samples: train.count, secondsLeft: pace.seconds * Double(total - state.step), of: total)))
            if outcome.skipped { try report(.skipped(step: state.step, lossScale: session.lossScaling.map { Double($0.scale) })) }
            if state.unrecoverable >= Self.maximumUnrecoverableSteps {
                state = try rewound(from: state)
                since = Window(state: state)
                continue
            }
            if settings.loggingSteps > 0 && state.step % settings.loggingSteps == 0 || state.step == total {
                try log(state, outcome, since, total, samples: train.count)
                since = Window(state: state)
            }
            if settings.evalSteps > 0 && state.step % settings.evalSteps == 0 && state.step < total { try evaluate(evaluationSubset, &state, of: total, train) }
            if settings.evaluatesAtEnd && state.step == total { try evaluate(validation, &state, of: total, train) }
            // By steps, or by time.
            let due = settings.saveSteps > 0 && state.step % settings.saveSteps == 0
            let late = settings.saveMinutes > 0 && clock.uptime - lastSave >= settings.saveMinutes * 60
            // Never write a checkpoint during unrecoverable steps.
            if (due || late) && state.unrecoverable == 0 || state.step == total {
                try save(&state)
                lastSave = clock.uptime
            }
        }
        // Not evaluated yet where the last steps are excluded, or where the last checkpoint is from a run that was not to evaluate at its end.
        if settings.evaluatesAtEnd && state.evaluations.last?.step != total { try evaluate(validation, &state, of: total, train) }
        return TrainingResult(state: state, totalSteps: total)
    }

    /// Computes the loss of held-out samples, reports it and adds it to the state; does nothing without samples.
    private func evaluate(_ samples: SampleSet, _ state: inout TrainerState, of total: Int, _ train: SampleSet) throws {
        let start = clock.uptime
        guard let loss = try session.loss(of: samples, tokensPerBatch: settings.evaluationTokensPerBatch ?? settings.tokensPerBatch) else { return }
        if !loss.isFinite { try report(.warning("the validation loss of step \(state.step) is not a finite number")) }
        state.evaluations.append(.init(step: state.step, loss: loss))
        try report(
            .evaluation(
                step: state.step, of: total, epoch: epoch(state, samples: train.count), loss: loss, rows: samples.count, seconds: clock.uptime - start))
    }

    /// Loads the newest complete checkpoint into `model.adapters`; reports a warning for each damaged one.
    private func restored() throws -> TrainerState? {
        var warnings: [String] = []
        let state = try checkpoints.loadNewest(into: session.model.adapters) { warnings.append($0) }
        for warning in warnings { try report(.warning(warning)) }
        return state
    }

    /// Returns to the last checkpoint: its state, with the present loss scale, and with the failed steps excluded because they would fail the
    /// same way again.
    ///
    /// - Throws: exit 1 where there is no checkpoint, or training has gone back too often.
    private func rewound(from state: TrainerState) throws -> TrainerState {
        let failed = (state.step - Self.maximumUnrecoverableSteps)..<state.step
        let what = "steps \(failed.lowerBound + 1) to \(failed.upperBound) had gradients or losses that are not finite"
        func givenUp(_ why: String) -> LorikeetError {
            LorikeetError(
                .checkFailed, "\(what)\(why)",
                fix: "look at those records, lower learning_rate, or say compute_type float32 (bfloat16 on a card from 8.0 on)")
        }
        guard state.rewinds < Self.maximumRewinds else {
            throw givenUp("; training has gone back \(state.rewinds) times and the last checkpoint is kept")
        }
        guard var earlier = try restored() else { throw givenUp("; there is no checkpoint to go back to") }
        let reached = session.lossScaling
        try session.pushAdapters()
        if let reached { try session.setLossScaling(reached) }
        earlier.lossScaling = reached
        earlier.unrecoverable = 0
        earlier.rewinds = state.rewinds + 1
        earlier.excludedSteps = state.excludedSteps + [failed]
        try report(.warning("\(what): training goes back to the checkpoint of step \(earlier.step) and leaves their records out"))
        return earlier
    }

    private func save(_ state: inout TrainerState) throws {
        try session.pullAdapters()
        state.lossScaling = session.lossScaling
        try checkpoints.save(session.model.adapters, state, limit: settings.saveTotalLimit)
        try report(.checkpoint(step: state.step))
    }

    /// The totals when the last `log` event was reported.
    private struct Window {
        let step: Int
        let stepsWithoutLoss: Int
        let lossSum: Double
        let tokens: Int
        let trainedTokens: Int
        let computedTokens: Int
        let seconds: Double

        init(state: TrainerState) {
            (step, stepsWithoutLoss, lossSum) = (state.step, state.stepsWithoutLoss, state.lossSum)
            (tokens, trainedTokens, computedTokens, seconds) = (state.tokens, state.trainedTokens, state.computedTokens, state.seconds)
        }
    }

    private func epoch(_ state: TrainerState, samples: Int) -> Double {
        Double(state.step) / Double(max(1, settings.stepsPerEpoch(samples: samples)))
    }

    /// The last step as training reports it.
    private func progress(_ state: TrainerState, _ outcome: Outcome, samples: Int, secondsLeft: Double, of total: Int) -> TrainingProgress {
        TrainingProgress(
            step: state.step, of: total, epoch: epoch(state, samples: samples), loss: outcome.loss, learningRate: outcome.learningRate,
            gradientNorm: outcome.gradientNorm, lossScale: session.lossScaling.map { Double($0.scale) }, tokens: outcome.tokens,
            trainedTokens: outcome.trainedTokens, computedTokens: outcome.computedTokens, seconds: outcome.seconds, secondsLeft: secondsLeft)
    }

    private func log(_ state: TrainerState, _ outcome: Outcome, _ since: Window, _ total: Int, samples: Int) throws {
        let steps = max(1, state.step - since.step)
        let seconds = max(1e-9, state.seconds - since.seconds)
        let measured = max(1, steps - (state.stepsWithoutLoss - since.stepsWithoutLoss))
        var progress = progress(state, outcome, samples: samples, secondsLeft: seconds / Double(steps) * Double(total - state.step), of: total)
        progress.loss = (state.lossSum - since.lossSum) / Double(measured)
        progress.tokens = state.tokens - since.tokens
        progress.trainedTokens = state.trainedTokens - since.trainedTokens
        progress.computedTokens = state.computedTokens - since.computedTokens
        progress.seconds = seconds
        try report(.log(progress))
    }

    /// The result of one step.
    fileprivate struct Outcome {
        /// Mean over the step's trained tokens.
        var loss = 0.0
        /// The gradients were not finite and no parameter was changed.
        var skipped = false
        /// The step was skipped and a smaller loss scale could not have prevented it.
        var unrecoverable = false
        var learningRate = 0.0
        var gradientNorm = 0.0
        var tokens = 0
        var trainedTokens = 0
        var computedTokens = 0
        var seconds = 0.0
    }

    /// Runs the step after `state.step`: its micro-batches and one update.
    private func step(_ state: TrainerState, of total: Int, _ source: StepBatches) throws -> Outcome {
        let start = clock.uptime
        let prepared = try source.take(step: state.step)
        var outcome = Outcome()
        (outcome.tokens, outcome.trainedTokens, outcome.computedTokens) = (prepared.tokens, prepared.trainedTokens, prepared.computedTokens)
        var result: OptimiserResult
        var scale: Float
        outcome.learningRate = settings.learningRate(atStep: state.step, of: total)
        var isFirst = true
        // A step that overflows is repeated at half the loss scale, so that its records are still trained on.
        while true {
            scale = session.lossScaling?.scale ?? LossScaling.smallest
            let losses = try prepared.batches.enumerated().map { try session.submit($1, zeroFirst: $0 == 0) }
            let update = try session.submitStep(learningRate: outcome.learningRate, optimiser: settings.optimiser)
            if isFirst, state.step + 1 < total { source.prepare(step: state.step + 1) }
            isFirst = false
            outcome.loss = try losses.reduce(0) { try $0 + $1().lossSum }
            result = try update()
            guard result.skipped, outcome.loss.isFinite, scale > LossScaling.smallest else { break }
            let smaller = Int(session.lossScaling?.scale ?? LossScaling.smallest)
            try report(.warning("step \(state.step + 1) overflowed at loss scale \(Int(scale)) and is done again at \(smaller)"))
        }
        outcome.gradientNorm = result.gradientNorm
        outcome.skipped = result.skipped
        outcome.unrecoverable = result.skipped && (!outcome.loss.isFinite || scale <= LossScaling.smallest)
        outcome.seconds = clock.uptime - start
        return outcome
    }
}

extension TrainerState {
    /// Skips the next step where its records are excluded; returns whether it did.
    fileprivate mutating func skipExcludedStep() -> Bool {
        guard excludedSteps.contains(where: { $0.contains(step) }) else { return false }
        step += 1
        stepsWithoutLoss += 1
        return true
    }

    /// Counts a step.
    fileprivate mutating func add(_ outcome: Trainer.Outcome) {
        step += 1
        if outcome.loss.isFinite { lossSum += outcome.loss } else { stepsWithoutLoss += 1 }
        if outcome.skipped { skipped += 1 }
        unrecoverable = outcome.unrecoverable ? unrecoverable + 1 : 0
        tokens += outcome.tokens
        trainedTokens += outcome.trainedTokens
        computedTokens += outcome.computedTokens
        seconds += outcome.seconds
    }
}
