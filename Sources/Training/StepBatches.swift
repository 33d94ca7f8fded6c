import LorikeetDatasets
import LorikeetEngine
import LorikeetPlanning

/// The micro-batches of one optimiser step.
struct PreparedStep {
    /// 0 for the first.
    let step: Int
    let batches: [TokenBatch]
    /// Tokens of the step's samples, and those of them that are trained.
    let tokens: Int
    let trainedTokens: Int
    /// Rows of all batches: fewer than tokens where common beginnings are there once, and nothing behind a sample's last trained token.
    let computedTokens: Int
}

/// Makes the micro-batches of the steps, and those of the next step while a card computes this one.
final class StepBatches {
    private let settings: TrainingSettings
    private let samples: SampleSet
    private let sampler: StepSampler
    private let sharing: Bool
    private var next: (step: Int, result: Result<PreparedStep, any Error>)?

    /// - Parameter sharing: whether samples may share what they begin with (`Session.sharesPrefixes`).
    init(settings: TrainingSettings, samples: SampleSet, sharing: Bool) {
        (self.settings, self.samples) = (settings, samples)
        self.sharing = sharing && settings.sharesPrefixes
        sampler = StepSampler(settings: settings, count: samples.count)
    }

    /// Makes the batches of a step that is about to come; an error is thrown when they are taken.
    func prepare(step: Int) { next = (step, Result { try made(step) }) }

    /// The batches of a step, which may have been prepared.
    ///
    /// - Throws: exit 4 when the samples cannot be read.
    func take(step: Int) throws -> PreparedStep {
        defer { next = nil }
        if let next, next.step == step { return try next.result.get() }
        return try made(step)
    }

    private func made(_ step: Int) throws -> PreparedStep {
        let chosen = sampler.samples(ofStep: step)
        let samples = try samples.samples(at: chosen.indices)
        let groups = [SampleGroup].ofStep(settings.replicas, rows: settings.tokensPerBatch) {
            sharing
                ? .sharing(samples, tokensPerBatch: $0) : .whole(samples.map(\.length), tokensPerBatch: $0, packing: settings.packing)
        }
        var batches = groups.map { TokenBatch($0, seed: settings.seed, epoch: chosen.epoch) { samples[$0] } }
        let trained = batches.reduce(0) { $0 + $1.trainedRows }
        // The loss is the mean over the trained tokens of the whole step, so the gradient does not depend on its split into micro-batches.
        for index in batches.indices { batches[index].setWeight(1 / Float(max(1, trained))) }
        return PreparedStep(
            step: step, batches: batches, tokens: samples.reduce(0) { $0 + $1.ids.count }, trainedTokens: trained,
            computedTokens: batches.reduce(0) { $0 + $1.rows })
    }
}
