import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

/// What happens during training, for whoever listens.
package enum TrainingEvent: Sendable {
    /// Every step: its loss (mean over its trained tokens), the rate used, the gradients' norm before clipping.
    case step(number: Int, of: Int, loss: Double, learningRate: Double, gradientNorm: Double, tokens: Int, seconds: Double)
    /// Every `loggingSteps`: mean loss since the last, speed, what is left.
    case log(step: Int, of: Int, epoch: Double, loss: Double, learningRate: Double, gradientNorm: Double, tokensPerSecond: Double, secondsLeft: Double)
    case evaluation(step: Int, loss: Double, rows: Int)
    case checkpoint(step: Int)
    case warning(String)
}

/// How training ended.
package struct TrainingResult: Sendable {
    package let state: TrainerState
    package let totalSteps: Int
    /// Mean loss over all steps.
    package var trainLoss: Double { state.step > 0 ? state.lossSum / Double(state.step) : 0 }
    /// All non-padding tokens of the steps over the seconds they took.
    package var tokensPerSecond: Double { state.seconds > 0 ? Double(state.tokens) / state.seconds : 0 }
    /// False when training was stopped and everything was saved.
    package var finished: Bool { state.step >= totalSteps }
}

/// The training loop: sampler, steps, evaluation, checkpoints, stopping.
///
/// Order and dropout are functions of (seed, epoch, record), so the loop has no state but what a checkpoint holds.
package struct Trainer {
    package let session: Session
    package let settings: TrainingSettings
    package let checkpoints: CheckpointStore
    package let clock: any Clock
    /// Asked before every step: true saves and ends (a signal, a deadline).
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

    /// Trains to the end, from the newest checkpoint if there is one.
    ///
    /// - Throws: exit 4 when a checkpoint cannot be written or the loss is no number; earlier checkpoints stay.
    package func run(train: [TokenSample], validation: [TokenSample]) throws -> TrainingResult {
        let adapters = session.model.adapters
        let total = settings.totalSteps(samples: train.count)
        let sampler = StepSampler(settings: settings, count: train.count)
        var warnings: [String] = []
        var state = try checkpoints.loadNewest(into: adapters) { warnings.append($0) } ?? TrainerState()
        try session.pushAdapters()
        for warning in warnings { try report(.warning(warning)) }
        let watched = randomSubset(of: validation.count, wanted: settings.evalSamples, seed: settings.seed, purpose: .evaluationSubset).map { validation[$0] }
        var since = Window(state: state)
        var lastSave = clock.uptime
        while state.step < total {
            if shouldStop() {
                try save(state)
                return TrainingResult(state: state, totalSteps: total)
            }
            let outcome = try step(state.step, of: total, samples: train, sampler)
            state.step += 1
            state.lossSum += outcome.loss
            state.tokens += outcome.tokens
            state.trainedTokens += outcome.trainedTokens
            state.seconds += outcome.seconds
            try report(
                .step(
                    number: state.step, of: total, loss: outcome.loss, learningRate: outcome.learningRate, gradientNorm: outcome.gradientNorm,
                    tokens: outcome.tokens, seconds: outcome.seconds))
            if settings.loggingSteps > 0 && state.step % settings.loggingSteps == 0 || state.step == total {
                try log(state, outcome, since, total, samples: train.count)
                since = Window(state: state)
            }
            if settings.evalSteps > 0 && state.step % settings.evalSteps == 0 && state.step < total,
                let loss = try session.loss(of: watched, tokensPerBatch: settings.tokensPerBatch)
            {
                state.evaluations.append(.init(step: state.step, loss: loss))
                try report(.evaluation(step: state.step, loss: loss, rows: watched.count))
            }
            let due = settings.saveSteps > 0 && state.step % settings.saveSteps == 0
            let late = settings.saveMinutes > 0 && clock.uptime - lastSave >= settings.saveMinutes * 60
            if due || late || state.step == total {
                try save(state)
                lastSave = clock.uptime
            }
        }
        return TrainingResult(state: state, totalSteps: total)
    }

    private func save(_ state: TrainerState) throws {
        try session.pullAdapters()
        try checkpoints.save(session.model.adapters, state, limit: settings.saveTotalLimit)
        try report(.checkpoint(step: state.step))
    }

    /// What was reached when the last log line was written.
    private struct Window {
        let step: Int
        let lossSum: Double
        let tokens: Int
        let seconds: Double

        init(state: TrainerState) { (step, lossSum, tokens, seconds) = (state.step, state.lossSum, state.tokens, state.seconds) }
    }

    private func log(_ state: TrainerState, _ outcome: Outcome, _ since: Window, _ total: Int, samples: Int) throws {
        let steps = max(1, state.step - since.step)
        let seconds = max(1e-9, state.seconds - since.seconds)
        try report(
            .log(
                step: state.step, of: total, epoch: Double(state.step) / Double(max(1, settings.stepsPerEpoch(samples: samples))),
                loss: (state.lossSum - since.lossSum) / Double(steps), learningRate: outcome.learningRate, gradientNorm: outcome.gradientNorm,
                tokensPerSecond: Double(state.tokens - since.tokens) / seconds, secondsLeft: seconds / Double(steps) * Double(total - state.step)))
    }

    private struct Outcome {
        var loss = 0.0
        var learningRate = 0.0
        var gradientNorm = 0.0
        var tokens = 0
        var trainedTokens = 0
        var seconds = 0.0
    }

    private func step(_ number: Int, of total: Int, samples: [TokenSample], _ sampler: StepSampler) throws -> Outcome {
        let start = clock.uptime
        let chosen = sampler.samples(ofStep: number)
        let batches = pack(
            samples: chosen.indices.map { samples[$0] }, tokensPerBatch: settings.tokensPerBatch, seed: settings.seed, epoch: chosen.epoch,
            packing: settings.packing)
        var outcome = Outcome()
        outcome.trainedTokens = batches.reduce(0) { $0 + $1.trainedTokens }
        outcome.tokens = batches.reduce(0) { $0 + $1.rows }
        // The mean over the whole step's trained tokens: the same gradient however the step is split.
        let weight = 1 / Float(max(1, outcome.trainedTokens))
        for (index, batch) in batches.enumerated() {
            outcome.loss += try session.accumulate(batch.tokenBatch(weight: weight), zeroFirst: index == 0).lossSum
        }
        guard outcome.loss.isFinite else {
            throw LorikeetError.machine("the loss of step \(number + 1) is not a number", mend: "lower the learning rate; the last checkpoint is kept")
        }
        outcome.learningRate = settings.learningRate(atStep: number, of: total)
        outcome.gradientNorm = try session.optimiserStep(learningRate: outcome.learningRate, settings: settings.adamW, step: number + 1).gradientNorm
        outcome.seconds = clock.uptime - start
        return outcome
    }
}
