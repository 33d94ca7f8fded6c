import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetReporting
import LorikeetTraining

extension Pipeline {
    /// Steps 6 and 7.
    func train(_ preparation: Preparation, _ dataset: Dataset, _ plan: Plan, _ compute: Compute) throws -> (TrainingResult, Model) {
        let choices = plan.choices
        let model = try step(6, "model loading") { () throws -> Model in
            var compute = compute
            compute.embeddingOnHost = choices.embeddingOnHost
            let model = try compute.model(
                preparation.source, storage: choices.storage, lora: recipe.loraSettings, seed: UInt64(recipe.seed), optimiser: recipe.optimiser)
            try begin(model)
            if choices.keepsExpanded { try model.keepExpanded() }
            try requireSound(preparation.source)
            return model
        }
        let result = try step(7, "training") { () throws -> TrainingResult in
            let session = try Session(model: model, sizes: choices.sizes, passes: choices.passes)
            try probeRange(session, dataset, choices)
            let store = CheckpointStore(
                directory: output.checkpoints, files: environment.files, adapterConfiguration: recipe.adapterConfiguration)
            var settings = recipe.trainingSettings(
                tokensPerBatch: choices.tokensPerBatch, evaluationTokensPerBatch: choices.evaluationTokensPerBatch)
            settings.replicas = choices.sizes.replicas
            // The test of a run to a merged model evaluates at the end anyway.
            settings.evaluatesAtEnd = goal == .adapter
            var trainer = Trainer(
                session: session, settings: settings, checkpoints: store, clock: environment.clock, shouldStop: environment.shouldStop,
                report: { [self] event in
                    try requireSound(preparation.source)
                    // The tuned algorithms are saved before a checkpoint depends on them.
                    try saveGEMMChoices(plan, compute)
                    if case .evaluation(_, _, _, _, _, let seconds) = event { parts["evaluation", default: 0] += seconds }
                    try report(event, plan)
                })
            trainer.time = trainingTime(plan, settings, validation: dataset.validation.count)
            trainer.hasChanged = !acceptedChanges.isEmpty
            trainer.restart = { [self] in try begin(model) }
            let result = try trainer.run(train: dataset.train, validation: dataset.validation)
            state.deviceBytes()
            return result
        }
        return (result, model)
    }

    /// Sets what is trained to what it begins with.
    private func begin(_ model: Model) throws {
        model.adapters.initialise(seed: UInt64(recipe.seed))
        if let start = recipe.initAdapter { try model.loadAdapter(AdapterFile.read(directory: start, files: environment.files)) }
    }

    /// Checks before training that the model's activations stay in float16's range (65,504), by a forward pass over held-out records. Does nothing
    /// for other types.
    ///
    /// - Throws: exit 2 where a value overflows.
    private func probeRange(_ session: Session, _ dataset: Dataset, _ choices: Plan.Choices) throws {
        guard session.lossScaling != nil else { return }
        let samples = try (dataset.validation.isEmpty ? dataset.train : dataset.validation).first(Self.probedSamples)
        let batches = pack(samples: samples, tokensPerBatch: choices.evaluationTokensPerBatch)
        session.interruption = isToEnd
        defer { session.interruption = nil }
        guard let most = try ValueMagnitude.largest(over: batches, session) else { return }
        guard most.largest.isFinite else {
            throw LorikeetError.input(
                "this model leaves the range of float16 (65504): \(most.detail)", at: "compute_type",
                fix: "say compute_type float32, or bfloat16 on a card from 8.0 on")
        }
        try reporter.note("float16 is enough: the largest value is \(Figures.number(Double(most.largest))) of at most 65504 (\(most.detail))")
        if most.largest > 32752 { try reporter.warning("values take up more than half of float16's range; if they leave it in training, the run stops") }
    }

    /// Samples in the check of float16's range.
    private static let probedSamples = 64

    /// What happened to the steps, as summary.json has it.
    func courseFields(_ result: TrainingResult) -> [(name: String, value: JSON)] {
        let trouble = result.state.trouble
        return [
            ("planned_steps", JSON(result.plannedSteps)), ("dropped_steps", JSON(result.droppedSteps)),
            ("schedule_changes", .array(result.state.changes.map { ["step": JSON($0.step), "of": JSON($0.total)] })),
            ("skipped_steps", JSON(result.state.skipped)), ("left_out_steps", JSON(trouble.excludedSteps.reduce(0) { $0 + $1.count })),
            ("overflowed_steps", JSON(trouble.overflows)), ("repeated_steps", JSON(trouble.repeated)), ("loss_spikes", JSON(trouble.spikes)),
            ("rewinds", JSON(trouble.rewinds)), ("learning_rate_factor", .number(trouble.rateFactor(atStep: .max))),
        ]
            + (recipe.loadBestModelAtEnd
                ? [
                    ("best_metric", .string(recipe.metricForBestModel)), ("best_step", result.state.best.step.map { JSON($0) } ?? .null),
                    ("best_validation_loss", result.state.best.step == nil ? .null : .number(result.state.best.loss)),
                    ("ended_early", .bool(result.state.endedAt != nil)),
                ] : [])
    }
}
