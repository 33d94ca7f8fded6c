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

/// The pipeline's connections to the outside, which tests replace: files, clock, event listeners, devices.
package struct PipelineEnvironment {
    package var files: any Files
    package var clock: any Clock
    package var sinks: [any EventSink]
    /// Called between training steps: true saves and ends the run.
    package var shouldStop: @Sendable () -> Bool
    /// The notebook service that the process runs in; else nil.
    package var notebook: NotebookService?
    /// The clock's uptime, in seconds, when the process began.
    package var started: Double
    /// When the session began, and which it is.
    package var session: SessionStart
    /// Where `resume_from: auto` looks for earlier outputs.
    package var inputFolders = ["/kaggle/input"]
    /// Finds models and data that the recipe names, on this machine or on a hub.
    package var locator: InputLocator
    /// Where samples are kept between starts unless the recipe names a scratch folder; nil keeps them in memory.
    package var cacheFolder: String?
    /// Changed settings and inputs are accepted and recorded, not refused.
    package var acceptsChanges = false
    /// Seconds from one writing of report.html to the next.
    package var reportSeconds = 5.0
    /// The machine that is planned for, its card aside; nil measures this one.
    package var machine: PlannedMachine?
    /// What a plan's predictions are taken for; tests put others in.
    package var predicted: (Plan) -> Plan = { $0 }
    /// Opens the devices that the recipe names.
    package var open: (Recipe) throws -> Compute

    /// A process that is a session of its own, outside of a notebook service, without a cache.
    package init(
        files: any Files = RealFiles(), clock: any Clock = SystemClock(), sinks: [any EventSink] = [],
        shouldStop: @escaping @Sendable () -> Bool = { false }, locator: InputLocator? = nil,
        open: @escaping (Recipe) throws -> Compute = { try DeviceRequest($0).open() }
    ) {
        self.files = files
        self.clock = clock
        self.sinks = sinks
        self.shouldStop = shouldStop
        self.locator = locator ?? InputLocator(files: files)
        self.open = open
        started = clock.uptime
        session = SessionStart(started: started, identity: nil)
    }
}

/// Runs a recipe in ten numbered steps, from the environment to a merged and tested model. A step whose result an earlier process left complete is
/// not done again.
package final class Pipeline {
    /// What a run makes: the adapter only (`train`), or also a merged and tested model (`run`).
    package enum Goal: Sendable { case adapter, testedModel }

    /// The recipe as the user asks for it.
    let asked: Recipe
    /// `asked` with the date that its chat template writes: the earlier output's date where the run goes on from one.
    var recipe: Recipe
    let notes: [String]
    let goal: Goal
    let environment: PipelineEnvironment
    /// The recipe's own directory.
    let target: OutputDirectory
    /// The directory that is read: `target`, or an earlier output until `takeOver` has copied it.
    var output: OutputDirectory
    var earlier: EarlierOutput?
    /// nil where the recipe names neither a session nor a deadline.
    let sessionLength: SessionLength?
    /// The number of this session, from 1.
    var sessionNumber = 1
    /// The newest checkpoint when this start was planned.
    var checkpointBefore: CheckpointStore.Whole?
    /// What has changed since the run began and is accepted.
    var acceptedChanges: [String] = []
    /// Whether this session's training ends early enough for merging and testing.
    var keepsTimeForTest = true
    /// The clock's uptime, in seconds, at which what follows training has to end; nil where the recipe names no session.
    var sessionEnd: Double?
    let reporter: Reporter
    let state: MachineState
    private let events = EventsFile()
    let page: ReportFile
    /// nil where the recipe wants none.
    let tensorBoard: TensorBoardFile?
    /// The run's own files are open, so its end is written there.
    private(set) var ends = false
    /// The duration of each step so far, for the summary, and what the processors did before and after it.
    private(set) var seconds: [(name: String, seconds: Double)] = []
    private(set) var use: [String: (before: ProcessorUse, after: ProcessorUse)] = [:]
    /// The duration of parts of steps, by the names of the plan's phases.
    var parts: [String: Double] = [:]
    /// What measurements of this run are kept under; nil where none are kept.
    private(set) var measured: Measurements.Subject?
    /// What earlier processes spent on the run.
    private(set) var past = PastWork()
    /// The base and the machine, for the summary and the model cards.
    private var facts: JSONObject = [:]
    /// The numbered step that is being done.
    private(set) var present = (number: 0, name: "")
    /// The number of matrix products whose tuned algorithm plan.json holds.
    private var savedGEMMChoices = 0

    static let stepCount = 10
    private static let training = 7

    package init(recipe: Recipe, notes: [String], goal: Goal, environment: PipelineEnvironment) {
        asked = recipe
        let recipe = recipe.dated(files: environment.files, clock: environment.clock)
        self.recipe = recipe
        self.notes = notes
        self.goal = goal
        self.environment = environment
        let clock = environment.clock
        sessionLength = SessionLength(
            recipe, elapsed: environment.started - environment.session.started, now: clock.now - (clock.uptime - environment.started))
        target = OutputDirectory(path: recipe.output, files: environment.files, recipe: recipe)
        output = target
        let state = MachineState(directory: recipe.output, files: environment.files)
        self.state = state
        page = ReportFile(clock: environment.clock, seconds: environment.reportSeconds, remedy: "lorikeet report \(recipe.output)")
        tensorBoard = recipe.writesTensorBoard ? TensorBoardFile() : nil
        let sinks: [(any EventSink)?] = environment.sinks + [events, tensorBoard, page]
        reporter = Reporter(sinks: sinks.compactMap { $0 }, clock: environment.clock, machineState: { state.fields() })
        target.check = { [weak self] in try self?.requireGoing() }
    }

    /// Runs to the goal.
    ///
    /// - Returns: the summary, as in summary.json.
    /// - Throws: exit 1 when a check fails (after everything is written), 2 for unusable input, 3 where the run does not fit, 4 when the machine
    ///   fails, 75 when stopped early with everything saved.
    package func run() throws -> JSON { try ending { try work() } }

    private func work() throws -> JSON {
        try chooseBeginning()
        let warnings = try output.check(for: recipe, accepting: environment.acceptsChanges)
        acceptedChanges = try changesToAccept()
        if let summary = try finished() {
            let verdict = Result { try requireProofs(summary) }
            try refreshReport()
            return try verdict.get()
        }
        let compute = try step(1, "environment") { try openEnvironment(warnings) }
        let (opened, download) = try step(2, "data") { try prepare() }
        var preparation = opened
        var dataset = try step(3, "formatting") { try formatted(&preparation, compute) }
        try step(4, "checks") { try check(dataset, preparation) }
        let plan = try step(5, "planning") { () throws -> Plan in
            let plan = try self.plan(&preparation, &dataset, download, compute)
            if let download { preparation = try fetchWeights(download, for: preparation) }
            return plan
        }
        try beginOutput(preparation, plan, compute)
        facts = facts(preparation, plan, compute)
        let (result, trainable) = try train(preparation, dataset, plan, compute)
        guard result.finished else {
            _ = try writeSummary(plan, result, test: nil, stopped: true)
            throw stoppedEarly("stopped at step \(result.state.step) of \(result.totalSteps)")
        }
        try deliver(trainable.adapters, template: preparation.choice.source)
        guard goal == .testedModel else {
            let summary = try writeSummary(plan, result, test: nil, stopped: false)
            try reporter.report(.result, ["text": .string(trainedText(plan, summary)), "summary": summary])
            try keepMeasurements(plan)
            return try requireProofs(summary)
        }
        if leavesDeliveryToLater(plan) {
            _ = try writeSummary(plan, result, test: nil, stopped: true)
            throw stoppedEarly("training is done, and merging and testing are left to the next session:")
        }
        let test = try mergeAndTest(preparation, dataset, plan, compute, trainable)
        try saveGEMMChoices(plan, compute)
        let summary = try step(10, "report") { () throws -> JSON in
            let summary = try writeSummary(plan, result, test: test, stopped: false)
            try reporter.report(.result, ["text": .string(test.text() + "\n\n" + closingLines(plan, summary)), "summary": summary, "answers": test.answers])
            return summary
        }
        try keepMeasurements(plan)
        for text in test.notTested { try reporter.warning(text) }
        return try requireProofs(summary)
    }

    /// Makes the output directory this run's own, and opens its files. Nothing is written before.
    ///
    /// - Throws: exit 2 where the inputs are not those that the run began with.
    private func beginOutput(_ preparation: Preparation, _ plan: Plan, _ compute: Compute) throws {
        let inputs = try verifiedInputs(preparation, compute.cpu)
        try takeOver()
        if let warning = try output.claim(for: recipe) { try reporter.warning(warning) }
        try beginSession()
        try recordChanges()
        try output.save(inputs)
        try output.markUnfinished()
        try output.parts.clearLeftovers()
        past = try PastWork(events: output.events, files: environment.files)
        try events.open(path: output.events, files: environment.files)
        ends = true
        try openReports()
        try target.requireInPlace()
        // A replayed plan is already in the file, unless the run is to write more than it was: the key `export` may change.
        if try !output.keepsPlan(plan) { try output.write(plan.json, to: output.planJSON) }
        compute.device?.gemmChoices?.begin(measuring: plan.choices.tuned, known: plan.choices.products)
    }

    /// Steps 8 and 9.
    private func mergeAndTest(
        _ preparation: Preparation, _ dataset: Dataset, _ plan: Plan, _ compute: Compute, _ trained: Model
    ) throws -> FormsTest.Result {
        // By now it is known when the session ends.
        compute.cpu.interruption = isToEnd
        let (merged, exports) = try step(8, "merging") { () throws -> (ModelSource, [ExportedFile]) in
            let merged = try merge(preparation, compute.cpu)
            let start = environment.clock.uptime
            let exports = try export(merged, preparation, compute.cpu)
            parts["exporting"] = environment.clock.uptime - start
            return (merged, exports)
        }
        return try step(9, "testing") {
            var test = FormsTest(
                preparation: preparation, dataset: dataset, choices: plan.choices, compute: compute, lora: recipe.loraSettings, merged: merged,
                adapter: output.adapter, files: environment.files, record: try output.testRecord(recipe.yaml()))
            test.exports = exports
            test.observe = { [state] in state.deviceBytes() }
            test.progress = { [self] in try told("testing", $0) }
            test.clock = environment.clock
            test.spent = { [self] in parts[$0, default: 0] += $1 }
            let result = try test.run(trained: trained)
            // What was tested is what is delivered.
            for source in [preparation.source, merged] { try requireSound(source) }
            return result
        }
    }

    /// Runs one numbered step, reports it and notes its duration.
    func step<Result>(_ number: Int, _ name: String, _ body: () throws -> Result) throws -> Result {
        let before = ProcessorUse.now()
        present = (number, name)
        let (result, took) = try reporter.phase(number, of: Self.stepCount, name) {
            // Training stops in a way of its own.
            if number != Self.training { try requireGoing() }
            let result = try stoppable(body)
            state.deviceBytes()
            Machine.returnFreeMemory()
            return result
        }
        seconds.append((name, took))
        use[name] = (before, ProcessorUse.now())
        return result
    }

    /// Step 1: opens the devices and reports them.
    ///
    /// - Throws: exit 3 in a notebook without a card, unless the recipe asks for the processor.
    private func openEnvironment(_ warnings: [String]) throws -> Compute {
        let compute = try environment.open(recipe)
        compute.cpu.interruption = isToEnd
        if let notebook = environment.notebook, recipe.device == "auto", compute.device == nil {
            throw LorikeetError(
                .doesNotFit, "this is a \(notebook.name.rawValue) notebook without a card and the run would use its processor only",
                fix: "choose a GPU in the notebook's settings, or say --device cpu if that is meant")
        }
        state.device = compute.device
        for note in notes { try reporter.note(note) }
        for warning in warnings + DeviceRequest.idleWarnings(recipe, on: compute) { try reporter.warning(warning) }
        if !CPU.blasIsThreadSafe {
            try reporter.warning("OpenBLAS was built without locks: one thread is used; install libopenblas-pthread-dev and build again")
        }
        try reportEnvironment(compute)
        try reporter.note("\(Machine.cpuModel()), \(compute.cpu.threads) threads, \(CPU.blasKernels) kernels")
        if let card = compute.device?.properties {
            let capability = "\(card.architecture / 10).\(card.architecture % 10)"
            if let others = (compute.device as? CUDADevice)?.otherCards, others > 0 {
                try reporter.note("one card is used; \(others) more \(others == 1 ? "is" : "are") idle")
            }
            try reporter.note("\(card.name), \(card.driver), kernels for \(capability) in \(compute.element.suffix)")
        }
        return compute
    }

    /// Step 4: reports the data and shows the first sample.
    ///
    /// - Throws: exit 2 where the data report has an error.
    func check(_ dataset: Dataset, _ preparation: Preparation) throws {
        for note in dataset.report.notes { try reporter.note(note) }
        for warning in dataset.report.warnings { try reporter.warning(warning) }
        if let error = dataset.report.error(.unusableInput) { throw error }
        let counts = ["train: \(dataset.train.count) samples", "validation: \(dataset.validation.count) samples"]
        try reporter.note(
            counts.joined(separator: ", ") + ", \(dataset.report.train.truncated) truncated, \(dataset.report.train.trainedTokens) tokens with a loss")
        let preview = try dataset.preview(.first(1), tokenizer: preparation.tokenizer).first
        try report(dataset.report, first: preview)
        if let preview {
            try reporter.note("the first sample; what is learnt stands in [brackets]:\n" + preview.text)
        }
    }

    /// Step 5: makes the plan, or replays the choices of the first start, and checks that it fits.
    ///
    /// - Throws: exit 3 where memory, disk or the session's time are too small.
    private func plan(
        _ preparation: inout Preparation, _ dataset: inout Dataset, _ download: InputLocator.Download?, _ compute: Compute
    ) throws -> Plan {
        let card = try PlannedCard(compute, gpuMemory: preparation.recipe.gpuMemoryBytes)
        let (measurements, warning) = Preparation.measurements(for: card, cacheFolder: environment.cacheFolder, files: environment.files)
        if let warning { try reporter.warning(warning) }
        var planner = RunPlanner(
            preparation, dataset, merges: goal == .testedModel, card: card, cpu: compute.cpu, measurements: measurements)
        planner.machine = environment.machine
        try findSession()
        let limits = try limits(download)
        let fitted = try fit(&planner, limits, &preparation, &dataset, compute)
        var plan = environment.predicted(try fitting(&planner, limits) { try $0.plan() })
        plan.fitted = fitted
        measured = preparation.subject(card: card, cpu: compute.cpu)
        plan.choices.tuned = recipe.tune && compute.device?.gemmChoices != nil
        let kept = acceptedChanges.isEmpty ? try output.keptChoices() : nil
        // Tuned algorithms are measured during the run, so a new plan has none: take those of the earlier one.
        if let kept, kept.sameDevice(as: plan.choices), kept.tuned { plan.choices.products = kept.products }
        if let kept, kept != plan.choices { plan.choices = try replayed(kept, plan) }
        if try output.planIsDamaged() {
            try reporter.warning("\(output.planJSON) is damaged and made again: the result is bit-identical only if this is the machine of the first start")
        }
        for warning in plan.warnings { try reporter.warning(warning) }
        try reporter.note(String(plan.table(warnings: false).dropLast()))
        if let warning = try fitting(&planner, limits, { _ in try limits.require(plan, recipe) }) { try reporter.warning(warning) }
        try reportTime(&plan)
        return plan
    }

    /// The choices of the first start (`kept`), so that the result keeps its bits; those of `plan` where the device has changed or its memory cap
    /// is smaller now.
    private func replayed(_ kept: Plan.Choices, _ plan: Plan) throws -> Plan.Choices {
        guard kept.sameDevice(as: plan.choices) else {
            let names = [kept, plan.choices].map { "\($0.device) (\($0.element.suffix)\($0.architecture > 0 ? ", \($0.architecture)" : ""))" }
            try reporter.warning("the run began on \(names[0]) and goes on with \(names[1]): the result will not be bit-identical to an undisturbed run's")
            return plan.choices
        }
        var kept = kept
        // The test depends on how the model is merged: it is planned anew where those settings have changed.
        if output.deliversOtherwise { kept.test = plan.choices.test }
        guard kept != plan.choices else { return kept }
        if let cap = recipe.gpuMemoryBytes, plan.choices.device != "cpu", try output.keptGPUBytes() > cap {
            try reporter.warning("the plan of the first start takes more than gpu_memory now allows and is made anew: the result will not be bit-identical")
            return plan.choices
        }
        try reporter.warning("the plan of the first start is replayed; the result may not be bit-identical on another machine")
        return kept
    }

    /// Writes plan.json again if matrix products have been tuned since the last time.
    func saveGEMMChoices(_ plan: Plan, _ compute: Compute) throws {
        guard plan.choices.tuned, let choices = compute.device?.gemmChoices, choices.algorithms.count != savedGEMMChoices else { return }
        var plan = plan
        plan.choices.products = choices.algorithms
        try output.write(plan.json, to: output.planJSON)
        savedGEMMChoices = choices.algorithms.count
    }

    /// What all processes have spent on the run.
    var secondsSoFar: Double { past.seconds + environment.clock.uptime - environment.started }

    /// Writes summary.json and returns its content.
    private func writeSummary(_ plan: Plan, _ result: TrainingResult, test: FormsTest.Result?, stopped: Bool) throws -> JSON {
        try target.requireInPlace()
        var summary: JSONObject = [
            "steps": JSON(result.state.step), "trained_tokens": JSON(result.state.trainedTokens),
            "tokens_per_second": .number(result.tokensPerSecond ?? past.tokensPerSecond), "train_loss": .number(result.trainLoss),
        ]
        if let last = result.state.evaluations.last, last.step == result.totalSteps { summary["validation_loss_after"] = .number(last.loss) }
        for entry in test?.fields.entries ?? [] { summary[entry.key] = entry.value }
        if let failure = test?.failure(merged: output.merged) { summary["failed_proof"] = Self.failedProof(failure) }
        for entry in facts.entries { summary[entry.key] = entry.value }
        summary["phases"] = past.phases(with: seconds)
        summary["predicted_phases"] = .object(JSONObject(plan.predictedSteps.map { ($0.name, .number($0.seconds)) }))
        summary["slowdowns"] = .object(JSONObject(slowdowns(plan).sorted { $0.key < $1.key }.map { ($0.key, .number($0.value)) }))
        summary["parts"] = .object(JSONObject(parts.sorted { $0.key < $1.key }.map { ($0.key, .number($0.value)) }))
        summary["starts"] = JSON(past.starts + 1)
        for entry in courseFields(result) { summary[entry.name] = entry.value }
        summary["peak_gpu_bytes"] = .integer(max(past.peakDeviceBytes, Int64(state.peakDeviceBytes)))
        summary["peak_rss_bytes"] = .integer(max(past.peakProcessBytes, Machine.peakResidentBytes()))
        summary["predicted_gpu_bytes"] = .integer(plan.predictedGPUBytes)
        summary["predicted_rss_bytes"] = .integer(plan.predictedRSSBytes)
        summary["predicted_seconds"] = .number(plan.predictedSeconds)
        summary["predicted_disk_bytes"] = .integer(plan.predictedDiskBytes)
        summary["disk_bytes"] = .integer(environment.files.bytes(under: output.path))
        summary["seconds"] = .number(secondsSoFar)
        let changes = try output.recordedChanges()
        if !changes.isEmpty { summary["accepted_changes"] = .array(changes) }
        summary["stopped_early"] = .bool(stopped)
        try output.write(.object(summary), to: output.summaryJSON)
        return .object(summary)
    }
}
