import LorikeetDatasets
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe
import LorikeetReporting
import LorikeetTokenizers
import LorikeetTraining

/// What the pipeline takes from outside.
package struct PipelineEnvironment {
    package var files: any Files
    package var clock: any Clock
    package var sinks: [any EventSink]
    /// Asked between steps: true saves and ends.
    package var shouldStop: @Sendable () -> Bool
    /// `Kaggle` or `Colab` where that is recognised.
    package var notebook: String?
    /// Uptime at which the session began.
    package var started: Double

    package init(
        files: any Files = RealFiles(), clock: any Clock = SystemClock(), sinks: [any EventSink] = [],
        shouldStop: @escaping @Sendable () -> Bool = { false }, notebook: String? = nil, started: Double? = nil
    ) {
        self.files = files
        self.clock = clock
        self.sinks = sinks
        self.shouldStop = shouldStop
        self.notebook = notebook
        self.started = started ?? clock.uptime
    }
}

/// The whole way from a recipe to a merged, tested model, in ten numbered steps; each is skipped when an earlier process ended it.
package final class Pipeline {
    /// How far to go.
    package enum Goal: Sendable { case adapter, testedModel }

    let recipe: Recipe
    let notes: [String]
    let goal: Goal
    let environment: PipelineEnvironment
    let output: OutputDirectory
    let reporter: Reporter
    let cpu: CPU
    private let events = EventsFile()
    private var seconds: [(name: String, seconds: Double)] = []

    private static let stepCount = 10

    package init(recipe: Recipe, notes: [String], goal: Goal, environment: PipelineEnvironment) {
        self.recipe = recipe
        self.notes = notes
        self.goal = goal
        self.environment = environment
        output = OutputDirectory(path: recipe.output, files: environment.files)
        cpu = CPU(threads: recipe.threads > 0 ? recipe.threads : nil)
        let state = MachineState(directory: recipe.output, files: environment.files)
        reporter = Reporter(sinks: environment.sinks + [events], clock: environment.clock, machineState: { state.fields() })
    }

    /// Runs to the goal.
    ///
    /// - Returns: the summary, as in summary.json.
    /// - Throws: exit 1 when a proof fails (everything is written), 2, 3 and 4 as the contract says, 75 when stopped with everything saved.
    package func run() throws -> JSON {
        let warnings = try output.check(for: recipe)
        if let summary = output.finishedSummary(), goal == .adapter || summary["merged_matches_adapter"] != nil {
            try reporter.note("this run is finished: \(output.summaryJSON)")
            return summary
        }
        try step(1, "environment") { try checkEnvironment(warnings) }
        var preparation = try step(2, "data") { try Preparation(recipe: recipe, files: environment.files) }
        let dataset = try step(3, "formatting") { try preparation.loadData(files: environment.files, cpu: cpu) }
        try step(4, "checks") { try check(dataset, preparation) }
        let plan = try step(5, "planning") { try self.plan(preparation, dataset) }
        try output.claim(for: recipe)
        try events.open(path: output.events, files: environment.files)
        if try output.keptChoices() == nil { try output.write(plan.json, to: output.planJSON) }

        let (result, trainable) = try train(preparation, dataset, plan)
        guard result.finished else {
            _ = try writeSummary(plan, result, test: nil, stopped: true)
            throw LorikeetError(
                .stoppedEarly, "stopped at step \(result.state.step) of \(result.totalSteps) with everything saved", mend: "run the same command again")
        }
        try CheckpointStore.writeAdapter(
            trainable.adapters, configuration: recipe.adapterConfiguration, to: output.adapter, files: environment.files)
        guard goal == .testedModel else { return try writeSummary(plan, result, test: nil, stopped: false) }
        let merged = try step(8, "merging") { try merge(preparation) }
        let test = try step(9, "testing") {
            try FormsTest(
                preparation: preparation, dataset: dataset, choices: plan.choices, trained: trainable, merged: merged, adapter: output.adapter,
                files: environment.files
            ).run()
        }
        let summary = try step(10, "report") { () throws -> JSON in
            let summary = try writeSummary(plan, result, test: test, stopped: false)
            try reporter.report(.result, ["text": .string(test.text() + ending(summary)), "summary": summary])
            return summary
        }
        if !test.identityPasses {
            throw LorikeetError(
                .checkFailed, "the merged model's logits differ from base + adapter by \(test.identity.maximum)", at: output.merged,
                mend: "merge to float32, or report this")
        }
        if !test.transferPasses {
            throw LorikeetError(
                .checkFailed, "the merged model's loss exceeds the trained form's by more than merge_tolerance", at: output.merged,
                mend: "set merge_into: trained, or train on base_storage f16")
        }
        return summary
    }

    private func step<Result>(_ number: Int, _ name: String, _ body: () throws -> Result) throws -> Result {
        let (result, took) = try reporter.phase(number, of: Self.stepCount, name, body)
        seconds.append((name, took))
        return result
    }

    private func checkEnvironment(_ warnings: [String]) throws {
        if let notebook = environment.notebook, recipe.device == "auto" {
            throw LorikeetError(
                .doesNotFit, "this is a \(notebook) notebook and the run would use its processor only", mend: "say --device cpu if that is meant")
        }
        for note in notes { try reporter.note(note) }
        for warning in warnings { try reporter.warning(warning) }
        if !CPU.blasIsThreadSafe {
            try reporter.warning("OpenBLAS was built without locks: one thread is used; install libopenblas-pthread-dev and build again")
        }
        try reporter.note("\(Machine.cpuModel()), \(cpu.threads) threads, \(CPU.blasKernels) kernels")
    }

    private func check(_ dataset: Dataset, _ preparation: Preparation) throws {
        for warning in dataset.report.warnings { try reporter.warning(warning) }
        if let error = dataset.report.error(.unusableInput) { throw error }
        let sides = ["train: \(dataset.train.count) samples", "validation: \(dataset.validation.count) samples"]
        try reporter.note(
            sides.joined(separator: ", ") + ", \(dataset.report.train.truncated) truncated, \(dataset.report.train.trainedTokens) tokens with a loss")
        if let preview = dataset.preview(rows: 1, tokenizer: preparation.tokenizer).first {
            try reporter.note("the first sample; what is learnt stands in [brackets]:\n" + preview.text)
        }
    }

    private func plan(_ preparation: Preparation, _ dataset: Dataset) throws -> Plan {
        var plan = try preparation.plan(dataset, merges: goal == .testedModel, cpu: cpu, clock: environment.clock)
        if let kept = try output.keptChoices() {
            if kept != plan.choices { try reporter.warning("the plan of the first start is replayed; the result may not be bit-identical on another machine") }
            plan.choices = kept
        }
        for warning in plan.warnings { try reporter.warning(warning) }
        try reporter.note(plan.table())
        try plan.requireFit(
            availableMemory: Machine.availableMemoryBytes() + Machine.residentBytes(),
            freeDisk: environment.files.freeBytes(at: recipe.output) + (output.keptBytes()), output: recipe.output)
        if let session = recipe.sessionSeconds, try output.keptChoices() == nil {
            try plan.requireTime(sessionSeconds: session - (environment.clock.uptime - environment.started))
        }
        return plan
    }

    private func train(_ preparation: Preparation, _ dataset: Dataset, _ plan: Plan) throws -> (TrainingResult, Model) {
        let model = try step(6, "model loading") { () throws -> Model in
            let model = try Model(
                source: preparation.source, storage: plan.choices.storage, lora: recipe.loraSettings, seed: UInt64(recipe.seed), cpu: cpu)
            if let start = recipe.initAdapter { try model.loadAdapter(AdapterFile.read(directory: start, files: environment.files)) }
            return model
        }
        let result = try step(7, "training") { () throws -> TrainingResult in
            let session = try Session(model: model, sizes: plan.choices.sizes, recompute: plan.choices.recompute)
            let store = CheckpointStore(
                directory: output.checkpoints, files: environment.files, adapterConfiguration: recipe.adapterConfiguration)
            let deadline = recipe.sessionSeconds.map { environment.started + $0 - finishingSeconds(plan) }
            let (asked, clock) = (environment.shouldStop, environment.clock)
            return try Trainer(
                session: session, settings: recipe.trainingSettings(tokensPerBatch: plan.choices.tokensPerBatch), checkpoints: store,
                clock: environment.clock, shouldStop: { asked() || deadline.map { clock.uptime > $0 } ?? false }, report: tell
            ).run(train: dataset.train, validation: dataset.validation)
        }
        return (result, model)
    }

    /// What must be left of a session for merging and testing, with a reserve of a fifth and half a minute.
    private func finishingSeconds(_ plan: Plan) -> Double {
        30 + 1.2 * plan.phases.filter { $0.name == "merging" || $0.name == "testing" }.reduce(0) { $0 + $1.seconds }
    }

    private func tell(_ event: TrainingEvent) throws {
        switch event {
        case .step(let number, let of, let loss, let rate, let norm, let tokens, let seconds):
            try reporter.report(
                .step,
                [
                    "step": JSON(number), "of": JSON(of), "loss": .number(loss), "learning_rate": .number(rate), "grad_norm": .number(norm),
                    "tokens": JSON(tokens), "tokens_per_second": .number(Double(tokens) / max(1e-9, seconds)),
                    "seconds_left": .number(seconds * Double(of - number)),
                ])
        case .log(let step, let of, let epoch, let loss, let rate, let norm, let speed, let left):
            try reporter.report(
                .log,
                [
                    "step": JSON(step), "of": JSON(of), "epoch": .number(epoch), "loss": .number(loss), "learning_rate": .number(rate),
                    "grad_norm": .number(norm), "tokens_per_second": .number(speed), "seconds_left": .number(left),
                ])
        case .evaluation(let step, let loss, let rows):
            try reporter.report(.evaluation, ["step": JSON(step), "eval_loss": .number(loss), "rows": JSON(rows)])
        case .checkpoint(let step): try reporter.report(.checkpoint, ["step": JSON(step)])
        case .warning(let text): try reporter.warning(text)
        }
    }

    private func merge(_ preparation: Preparation) throws -> ModelSource {
        if !environment.files.exists(output.merged + "/config.json") {
            let adapter = try AdapterFile.read(directory: output.adapter, files: environment.files)
            let into = recipe.mergeInto == "trained" ? recipe.storage(for: preparation.source) : .stored
            try Merger(
                base: preparation.source, adapter: adapter, settings: MergeSettings(type: recipe.mergeType, into: into),
                files: environment.files, cpu: cpu
            ).write(to: output.merged)
        }
        return try ModelSource.open(output.merged, files: environment.files)
    }

    private func ending(_ summary: JSON) -> String {
        let (peak, predicted) = (summary["peak_rss_bytes"]?.int ?? 0, summary["predicted_rss_bytes"]?.int ?? 0)
        return [
            "", "", "memory            \(Units.formatBytes(Int64(peak))) (predicted \(Units.formatBytes(Int64(predicted))))",
            "time              \(Units.formatSeconds(summary["seconds"]?.double ?? 0)) (predicted \(Units.formatSeconds(summary["predicted_seconds"]?.double ?? 0)))",
            "adapter           \(output.adapter)", "merged model      \(output.merged)",
        ].joined(separator: "\n")
    }

    private func writeSummary(_ plan: Plan, _ result: TrainingResult, test: FormsTest.Result?, stopped: Bool) throws -> JSON {
        var summary: JSONObject = [
            "steps": JSON(result.state.step), "trained_tokens": JSON(result.state.trainedTokens),
            "tokens_per_second": .number(result.tokensPerSecond), "train_loss": .number(result.trainLoss),
        ]
        for entry in test?.fields.entries ?? [] { summary[entry.key] = entry.value }
        summary["phases"] = .object(JSONObject(seconds.map { ($0.name, .number($0.seconds)) }))
        summary["peak_gpu_bytes"] = 0
        summary["peak_rss_bytes"] = .integer(Machine.peakResidentBytes())
        summary["predicted_gpu_bytes"] = 0
        summary["predicted_rss_bytes"] = .integer(plan.predictedRSSBytes)
        summary["predicted_seconds"] = .number(plan.predictedSeconds)
        summary["seconds"] = .number(environment.clock.uptime - environment.started)
        summary["stopped_early"] = .bool(stopped)
        try output.write(.object(summary), to: output.summaryJSON)
        return .object(summary)
    }
}
