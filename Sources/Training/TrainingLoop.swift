import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

/// The loop of one training, from its newest checkpoint on.
struct TrainingLoop {
    let trainer: Trainer
    var state = TrainerState()
    /// All validation samples, and those that are evaluated during training.
    private let validation: SampleSet
    private let subset: SampleSet
    private let samples: Int
    let source: StepBatches
    private var since = LogWindow()
    private(set) var pace = StepPace()
    private var pacing: Pacing?
    private var lastSave: Double
    private let planned: Int

    var settings: TrainingSettings { trainer.settings }
    var device: any TrainingDevice { trainer.session }
    var course: StepCourse { StepCourse(planned: planned, changes: state.changes) }
    var total: Int { state.endedAt ?? course.total }

    init(_ trainer: Trainer, train: SampleSet, validation: SampleSet) throws {
        self.trainer = trainer
        self.validation = validation
        let settings = trainer.settings
        subset = validation.subset(
            randomSubset(of: validation.count, wanted: settings.evalSamples, seed: settings.seed, purpose: .evaluationSubset))
        samples = train.count
        planned = settings.totalSteps(samples: train.count)
        source = StepBatches(settings: settings, samples: train, sharing: trainer.session.sharesPrefixes)
        pacing = trainer.time.map { Pacing($0, settings) }
        lastSave = trainer.clock.uptime
        if let restored = try restored(notAfter: .max) {
            state = restored
        } else if trainer.hasChanged, try !trainer.checkpoints.steps().isEmpty {
            throw LorikeetError.input(
                "no checkpoint fits what has changed since the run began", at: trainer.checkpoints.directory, fix: "name another --output to begin anew")
        }
        if trainer.hasChanged {
            (state.trouble.rewinds, state.trouble.rateChanges, state.trouble.excludedSteps) = (0, [], [])
            (state.watch, state.changes, state.best, state.endedAt, state.unrecoverable) = (LossWatch(), [], BestEvaluation(), nil, 0)
        }
        // A process that was killed right after a save may have left more checkpoints than `saveTotalLimit`.
        if state.step > 0 { try removeOldCheckpoints() }
        try device.pushAdapters()
        since = LogWindow(state)
    }

    mutating func run() throws -> TrainingResult {
        do {
            while state.step < total {
                guard !trainer.shouldStop(), try hasTime() else { return try stopped() }
                if state.skipExcludedStep() { continue }
                // A process that was stopped in this evaluation has left it to this one.
                if try evaluateWhereDue() { try save() }
                if state.step < total { try oneStep() }
            }
            // Not evaluated yet where the last steps are excluded, or where the last checkpoint is from a run that was not to evaluate at its end.
            if settings.evaluatesAtEnd && !settings.keepsBest && state.evaluations.last?.step != total { try evaluate(validation) }
        } catch is Interrupted {
            return try stopped()
        }
        return settings.keepsBest ? try endedWithBest() : result(finished: true)
    }

    /// Everything is saved already: what is evaluated here is the best checkpoint's model, not the last step's.
    private mutating func endedWithBest() throws -> TrainingResult {
        try takeBest()
        do {
            if settings.evaluatesAtEnd { try evaluate(validation) }
        } catch is Interrupted {
            return result(finished: false)
        }
        return result(finished: true)
    }

    private func result(finished: Bool) -> TrainingResult {
        TrainingResult(state: state, totalSteps: total, droppedSteps: planned - course.total, plannedSteps: planned, finished: finished)
    }

    /// The end with everything saved: the checkpoint holds the last step that was finished. Before the first there is nothing to hold but what was decided.
    private mutating func stopped() throws -> TrainingResult {
        device.interruption = nil
        if state.step > 0 || state.trouble.rewinds > 0 || !state.changes.isEmpty { try save() }
        return result(finished: false)
    }

    /// Whether there is time for the next step; plans the steps that are left anew where the plan does not fit into the time that is left.
    private mutating func hasTime() throws -> Bool {
        guard var pacing else { return true }
        // A step, or an evaluation, that becomes too slow for the session is dropped.
        let (clock, asked, end) = (trainer.clock, trainer.shouldStop, pacing.lastMoment)
        device.interruption = { asked() || clock.uptime >= end }
        let decision = pacing.decide(done: state.step, of: total, most: planned, now: trainer.clock.uptime)
        self.pacing = pacing
        switch decision {
        case .goOn: return true
        case .stop: return false
        case .plan(let total):
            // What a checkpoint cannot hold yet has to wait: the next step decides anew.
            guard state.isSound else { return true }
            var course = course
            course.change(at: state.step, total: total)
            state.changes = course.changes
            // The checkpoint holds the change before it takes effect.
            try save()
            try trainer.report(.planned(StepCourse.Change(step: state.step, total: total), of: course))
            return true
        }
    }

    /// Takes the next step, with what follows it.
    private mutating func oneStep() throws {
        let outcome = try step()
        state.add(outcome)
        pace.add(outcome.seconds)
        pacing?.addStep(seconds: outcome.seconds)
        try trainer.report(.step(progress(outcome, secondsLeft: pace.seconds * Double(total - state.step))))
        try reportMissing(outcome)
        if try wentBack(after: outcome) {
            since = LogWindow(state)
            return
        }
        if settings.loggingSteps > 0 && state.step % settings.loggingSteps == 0 || state.step == total {
            try log(outcome)
            since = LogWindow(state)
        }
        let isBest = try evaluateWhereDue()
        if settings.evaluatesAtEnd && state.step == total && !settings.keepsBest { try evaluate(validation) }
        // By steps, or by time.
        let due = settings.saveSteps > 0 && state.step % settings.saveSteps == 0
        let late = settings.saveMinutes > 0 && trainer.clock.uptime - lastSave >= settings.saveMinutes * 60
        if (due || late || isBest) && state.isSound || state.step == total { try save() }
    }

    // MARK: evaluation

    /// Evaluates where `evalSteps` says so and it has not been done; after the last step too where the best checkpoint is kept.
    ///
    /// - Returns: whether this is the best evaluation so far, whose checkpoint is to be kept.
    @discardableResult private mutating func evaluateWhereDue() throws -> Bool {
        let due = settings.evalSteps > 0 && state.step % settings.evalSteps == 0 && state.step < total || settings.keepsBest && state.step == total
        guard due, state.step > 0, state.evaluations.last?.step != state.step, let seconds = try evaluate(subset) else { return false }
        pacing?.addEvaluation(seconds: seconds)
        // What is not saved cannot be the best.
        guard settings.keepsBest, state.isSound || state.step == total, let last = state.evaluations.last else { return false }
        let isBest = state.best.add(step: state.step, loss: last.loss, threshold: settings.earlyStoppingThreshold)
        if settings.earlyStoppingPatience > 0, state.best.without >= settings.earlyStoppingPatience, state.step < total {
            state.endedAt = state.step
            try trainer.report(.endedEarly(step: state.step, best: state.best))
        }
        return isBest
    }

    /// Takes what the best checkpoint holds in place of the last step's.
    private mutating func takeBest() throws {
        guard let best = state.best.step else {
            return try trainer.report(.warning("no evaluation had a finite loss: the last step's adapter is delivered"))
        }
        guard best != state.step else { return }
        do {
            try trainer.checkpoints.load(step: best, into: device.trained)
            try device.pushAdapters()
        } catch let damage as CheckpointStore.Damage {
            try trainer.report(
                .warning("the best checkpoint, of step \(best), is damaged (\(damage.what)): the last step's adapter is delivered"))
        }
    }

    /// Computes the loss of held-out samples, reports it and adds it to the state; does nothing without samples.
    ///
    /// - Returns: the seconds that it took.
    @discardableResult private mutating func evaluate(_ samples: SampleSet) throws -> Double? {
        let start = trainer.clock.uptime
        guard let loss = try device.meanLoss(of: samples, tokensPerBatch: settings.evaluationTokensPerBatch ?? settings.tokensPerBatch) else { return nil }
        if !loss.isFinite { try trainer.report(.warning("the validation loss of step \(state.step) is not a finite number")) }
        state.evaluations.append(.init(step: state.step, loss: loss))
        let seconds = trainer.clock.uptime - start
        try trainer.report(.evaluation(step: state.step, of: total, epoch: epoch, loss: loss, rows: samples.count, seconds: seconds))
        return seconds
    }

    // MARK: checkpoints

    /// Loads the newest complete checkpoint of at most so many steps into the trained set on the host; reports a warning for each damaged one.
    func restored(notAfter step: Int) throws -> TrainerState? {
        var warnings: [String] = []
        let state = try trainer.checkpoints.loadNewest(into: device.trained, notAfter: step) { warnings.append($0) }
        for warning in warnings { try trainer.report(.warning(warning)) }
        return state
    }

    mutating func save() throws {
        let start = trainer.clock.uptime
        try device.pullAdapters()
        state.lossScaling = device.lossScaling
        try trainer.checkpoints.save(device.trained, state)
        try removeOldCheckpoints()
        try trainer.report(.checkpoint(step: state.step))
        lastSave = trainer.clock.uptime
        pacing?.addCheckpoint(seconds: lastSave - start)
    }

    private func removeOldCheckpoints() throws {
        try trainer.checkpoints.removeOld(
            upTo: state.step, limit: settings.saveTotalLimit, sparing: state.step - LossWatch.patience - LossWatch.length, best: state.best.step)
    }

    // MARK: reports

    private var epoch: Double { Double(state.step) / Double(max(1, settings.stepsPerEpoch(samples: samples))) }

    /// The last step as training reports it.
    private func progress(_ outcome: StepOutcome, secondsLeft: Double) -> TrainingProgress {
        TrainingProgress(
            step: state.step, of: total, epoch: epoch, loss: outcome.loss, learningRate: outcome.learningRate,
            gradientNorm: outcome.gradientNorm, lossScale: device.lossScaling.map { Double($0.scale) }, tokens: outcome.tokens,
            trainedTokens: outcome.trainedTokens, computedTokens: outcome.computedTokens, seconds: outcome.seconds, secondsLeft: secondsLeft)
    }

    private func log(_ outcome: StepOutcome) throws {
        let steps = max(1, state.step - since.step)
        let seconds = max(1e-9, state.seconds - since.seconds)
        let measured = max(1, steps - (state.stepsWithoutLoss - since.stepsWithoutLoss))
        var progress = progress(outcome, secondsLeft: seconds / Double(steps) * Double(total - state.step))
        progress.loss = (state.lossSum - since.lossSum) / Double(measured)
        progress.tokens = state.tokens - since.tokens
        progress.trainedTokens = state.trainedTokens - since.trainedTokens
        progress.computedTokens = state.computedTokens - since.computedTokens
        progress.seconds = seconds
        try trainer.report(.log(progress))
    }
}

/// The totals when the last `log` event was reported.
private struct LogWindow {
    var (step, stepsWithoutLoss, lossSum) = (0, 0, 0.0)
    var (tokens, trainedTokens, computedTokens, seconds) = (0, 0, 0, 0.0)

    init() {}

    init(_ state: TrainerState) {
        (step, stepsWithoutLoss, lossSum) = (state.step, state.stepsWithoutLoss, state.lossSum)
        (tokens, trainedTokens, computedTokens, seconds) = (state.tokens, state.trainedTokens, state.computedTokens, state.seconds)
    }
}
