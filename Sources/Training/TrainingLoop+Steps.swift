import LorikeetEngine
import LorikeetGround

/// The result of one step.
struct StepOutcome {
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
    /// Times that it was done again because of an overflow, and because loss or gradients were not finite.
    var overflows = 0
    var repeated = 0
}

/// What is done about a step that changed nothing because its gradients were not finite.
enum SkippedStep: Equatable {
    /// Done again at half the loss scale, so that its records are still trained on.
    case halveScale
    /// Done again as it was: a fault of the machine does not come a second time.
    case repeatOnce
    /// It stays skipped.
    case leave

    /// - Parameters:
    ///   - lossIsFinite: only then can the scale be the reason.
    ///   - scale: the loss scale that the step had.
    ///   - repeated: whether it was done again as it was.
    init(lossIsFinite: Bool, scale: Float, repeated: Bool) {
        self = lossIsFinite && scale > LossScaling.smallest ? .halveScale : repeated ? .leave : .repeatOnce
    }
}

extension TrainingLoop {
    /// Runs the step after `state.step`: its micro-batches and one update.
    ///
    /// - Throws: `Interrupted` where it was dropped; no parameter has changed then.
    func step() throws -> StepOutcome {
        let start = trainer.clock.uptime
        let prepared = try source.take(step: state.step)
        var outcome = StepOutcome()
        (outcome.tokens, outcome.trainedTokens, outcome.computedTokens) = (prepared.tokens, prepared.trainedTokens, prepared.computedTokens)
        outcome.learningRate = settings.learningRate(atStep: state.step, of: course) * state.trouble.rateFactor(atStep: state.step)
        while true {
            let scaling = device.lossScaling
            let result = try attempt(prepared, &outcome)
            outcome.gradientNorm = result.gradientNorm
            outcome.skipped = result.skipped
            guard result.skipped else { break }
            let scale = scaling?.scale ?? LossScaling.smallest
            switch SkippedStep(lossIsFinite: outcome.loss.isFinite, scale: scale, repeated: outcome.repeated > 0) {
            case .halveScale:
                outcome.overflows += 1
                try reportOverflow(from: scale)
                continue
            case .repeatOnce:
                outcome.repeated += 1
                // The step halved it, and it is not the reason.
                if let scaling { try device.setLossScaling(scaling) }
                try reportRepeated(outcome.loss)
                continue
            case .leave: outcome.unrecoverable = true
            }
            break
        }
        outcome.seconds = trainer.clock.uptime - start
        return outcome
    }

    /// Seconds of work that are asked of a card ahead of what it computes: a stop waits for them.
    private static let secondsAhead = 2.0

    /// Computes the step's gradient and updates the parameters where it is finite.
    private func attempt(_ prepared: PreparedStep, _ outcome: inout StepOutcome) throws -> OptimiserResult {
        // Before the first step of a process nothing is known.
        let ahead = pace.seconds > 0 ? max(2, Int(min(1000, Self.secondsAhead / pace.seconds * Double(prepared.batches.count)))) : 2
        var waiting: [() throws -> Double] = []
        let together = try device.backward(atOnce: prepared.batches)
        outcome.loss = together ?? 0
        for (number, batch) in prepared.batches.enumerated() where together == nil {
            if waiting.count >= ahead { outcome.loss += try waiting.removeFirst()() }
            if device.interruption?() == true { throw Interrupted() }
            waiting.append(try device.backward(batch, zeroFirst: number == 0))
        }
        let update = try device.submitStep(learningRate: outcome.learningRate, optimiser: settings.optimiser)
        if outcome.overflows + outcome.repeated == 0, state.step + 1 < total { source.prepare(step: state.step + 1) }
        for loss in waiting { outcome.loss += try loss() }
        return try update()
    }
}

extension TrainerState {
    /// Neither in the middle of steps that failed nor of high losses: a checkpoint of it is one to go back to.
    var isSound: Bool { unrecoverable == 0 && watch.high == 0 }

    /// Skips the next step where its records are excluded; returns whether it did.
    mutating func skipExcludedStep() -> Bool {
        guard trouble.excludedSteps.contains(where: { $0.contains(step) }) else { return false }
        step += 1
        stepsWithoutLoss += 1
        return true
    }

    /// Counts a step.
    mutating func add(_ outcome: StepOutcome) {
        step += 1
        if outcome.loss.isFinite { lossSum += outcome.loss } else { stepsWithoutLoss += 1 }
        if outcome.skipped { skipped += 1 }
        unrecoverable = outcome.unrecoverable ? unrecoverable + 1 : 0
        trouble.overflows += outcome.overflows
        trouble.repeated += outcome.repeated
        tokens += outcome.tokens
        trainedTokens += outcome.trainedTokens
        computedTokens += outcome.computedTokens
        seconds += outcome.seconds
        timedTokens += outcome.tokens
    }
}
