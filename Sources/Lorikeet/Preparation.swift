import LorikeetDatasets
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe
import LorikeetTokenizers
import LorikeetTraining

/// What is read before anything is planned: the model's files, its tokenizer and template, the records as tokens.
package struct Preparation {
    package private(set) var recipe: Recipe
    package let source: ModelSource
    package let tokenizer: Tokenizer
    /// The chat template and where it is from.
    let choice: ChatTemplate.Choice
    /// What is to be said of the template of the adapter that training starts from, or that is tested.
    private let adapterWarning: String?
    package var dataset: Dataset?
    /// Bytes of the data files.
    private var dataBytes: Int64 = 0
    /// The validation records are split off the training files.
    private var splitsData = false
    /// Whether samples are kept from start to start.
    private var keepsSamples = false
    /// The plan is that of a later process, which finds the samples where this one keeps them.
    package var isForLaterStart = false
    /// What files of the exported model are called.
    let exportName: String
    /// What the processors had done when the model was opened: how busy others keep them shows until the plan is made.
    private let opened = ProcessorUse.now()

    /// What the user should know of the model: what its files hold that is not used, and what a file does not say.
    package var warnings: [String] {
        source.warnings + tokenizer.warnings
            + [source.files.gguf.flatMap { Self.lostWindow($0.metadata, at: source.path, maxLength: recipe.maxLength) }, adapterWarning].compactMap { $0 }
    }

    /// A warning for a GGUF that is probably of Mistral 7B 0.1, whose window of 4,096 positions it cannot say: llama.cpp's converter writes Mistral as
    /// architecture `llama` without one. Of the models of this shape it alone has 32,768 positions at a `rope_theta` of 10,000.
    static func lostWindow(_ metadata: [String: GGUFValue], at path: String, maxLength: Int) -> String? {
        func number(_ key: String) -> Double? { metadata["llama." + key]?.double }
        guard maxLength > 4096, metadata["general.architecture"]?.string == "llama", number("context_length") == 32768, number("feed_forward_length") == 14336,
            number("rope.freq_base") ?? 10_000 == 10_000
        else { return nil }
        return "\(path): this looks like Mistral 7B 0.1 or a model made from it, in which a token sees the last 4096 positions alone. "
            + "A GGUF does not say so: as in llama.cpp, every token of a longer sample sees all before it. The model's Hugging Face directory has the window"
    }

    /// Opens the model's files; reads no weights.
    ///
    /// - Parameter adapter: a finished adapter that is tested: where the recipe names no template, it is tested with its own.
    package init(recipe: Recipe, files: any Files, adapter: String? = nil) throws {
        guard let model = recipe.model else {
            let run = recipe.output + "/run.yaml"
            throw LorikeetError.input(
                "no model is named", at: "model",
                fix: files.exists(run)
                    ? "give the run's recipe: --config \(run)" : "give --model (a directory, a .gguf file, or a hub's ORG/NAME) or 'model:' in the recipe")
        }
        let recipe = recipe.dated(files: files, clock: SystemClock())
        self.recipe = recipe
        exportName = ModelName.of(model, files: files)
        source = try ModelSource.open(model, files: files)
        // Families and target modules are refused before anything is read that takes time.
        let weights = source.configuration.weights
        let layout = try TrainedLayout(recipe.loraSettings, weights: weights)
        if let start = recipe.initAdapter { try Self.check(AdapterFile.read(directory: start, files: files), recipe.loraSettings, layout, weights) }
        _ = try Sidecar(source: source.files, files: files).copied()
        let tokenizer = try Tokenizer.load(from: source.files)
        self.tokenizer = tokenizer
        let trained = try recipe.chatTemplate == nil ? adapter.map { try AdapterTemplate(of: $0, files: files) } : nil
        if let trained, trained.isKnown {
            choice = try trained.choice(for: tokenizer, model: model, now: recipe.templateSeconds)
        } else {
            choice = try recipe.template(for: tokenizer, model: model, files: files)
        }
        adapterWarning = try recipe.startWarning(choice, tokenizer, model: model, files: files) ?? trained?.warning(for: tokenizer)
    }

    /// Checks that the adapter that training starts from has the recipe's rank and scale: with another scale, training would silently start
    /// from another model.
    private static func check(
        _ start: AdapterFile, _ lora: LoRASettings, _ layout: TrainedLayout, _ weights: [WeightDeclaration]
    ) throws {
        let theirs = try LoRASettings(start, weights: weights)
        if let module = theirs.targetModules.first(where: { theirs.rank(of: $0) != lora.r || theirs.scale(of: $0) != lora.scale(of: $0) }) {
            func words(_ settings: LoRASettings) -> String {
                let alpha = settings.exceptions[module]?.alpha ?? settings.alpha
                return "r \(settings.rank(of: module)), lora_alpha \(alpha)" + (settings.useRSLoRA ? ", use_rslora" : "")
            }
            throw LorikeetError.input(
                "the adapter has \(words(theirs)) for '\(module)' and the recipe \(words(lora))", at: start.path,
                fix: theirs.exceptions.isEmpty
                    ? "write the adapter's values under 'lora:'" : "start from an adapter that has one rank and alpha for all modules")
        }
        _ = try TrainedValues(start, layout, fix: "use an adapter of this base, of the same rank and the same target modules")
    }

    /// Reads and formats the records.
    ///
    /// - Throws: exit 2 as `Dataset.load` says, for tokens that the model has no row for among others.
    ///
    /// - Parameters:
    ///   - cacheFolder: where samples are kept between starts unless the recipe names a scratch folder; nil keeps them in memory.
    ///   - checksSamples: as for `Dataset.load`.
    ///   - check: called between blocks of records; what it throws ends the reading.
    package mutating func loadData(
        cacheFolder: String? = nil, checksSamples: Bool = true, files: any Files, cpu: CPU, check: @escaping () throws -> Void = {}
    ) throws -> Dataset {
        guard !recipe.data.isEmpty else {
            throw LorikeetError.input("no training data are named", at: "data", fix: "give --data FILE or 'data:' in the recipe")
        }
        let folder = recipe.scratch.map { $0 + "/lorikeet" } ?? cacheFolder
        let store = try folder.map { SampleStore(folder: $0 + "/samples", identity: try sampleIdentity(files, cpu: cpu), files: files) }
        var loaded = try Dataset.load(
            DatasetSettings(recipe), tokenizer: tokenizer, template: template, endOfTurn: endOfTurn, embeddingRows: source.configuration.vocabularySize,
            store: store, checksSamples: checksSamples, files: files, cpu: cpu, check: check)
        loaded.report.warnings += [try templateWarning(), contextWarning(loaded)].compactMap { $0 }
        let paths = try DataFiles.find(data: recipe.data, validation: recipe.validation, files: files)
        dataBytes = (paths.train + paths.validation).reduce(0) { $0 + Int64((try? files.byteCount(of: $1)) ?? 0) }
        (keepsSamples, splitsData) = (folder != nil, paths.validation.isEmpty)
        dataset = loaded
        return loaded
    }

    /// Rows that are answered in the test.
    package func answerTest(_ dataset: Dataset, slots: Int = Planner.slots) throws -> AnswerTest {
        try AnswerTest(rows: dataset.heldOut.first(recipe.testSamples), tokenizer: tokenizer, slots: slots)
    }

    /// The form of the base that the merged model has to equal, with the adapter beside it.
    package var mergedStorage: BaseStorage { recipe.mergeInto == "trained" ? recipe.storage(for: source) : .stored }

    /// The plan of a run on `dataset` where `compute` computes.
    package func plan(_ dataset: Dataset, merges: Bool, compute: Compute) throws -> Plan {
        try plan(dataset, merges: merges, card: PlannedCard(compute, gpuMemory: recipe.gpuMemoryBytes), cpu: compute.cpu)
    }

    /// The same on a card that need not be opened, or be in this machine; nil plans for the processor.
    package func plan(_ dataset: Dataset, merges: Bool, card: PlannedCard?, cpu: CPU) throws -> Plan {
        let exports = try merges ? plannedExports(cpu: cpu, files: RealFiles()) : PlannedExports()
        return try plan(planner(dataset, merges: merges, exports: exports.tested, card: card, cpu: cpu), exports)
    }

    /// The plan that a planner of this recipe makes.
    func plan(_ planner: Planner, _ exports: PlannedExports) throws -> Plan {
        var plan = try planner.plan()
        plan.limit = try limit(of: plan, planner)
        let settings = recipe.trainingSettings(tokensPerBatch: Planner.tokensPerBatch)
        plan.warnings = warnings + [settings.rateWarning, settings.warmupWarning(samples: planner.data.train.count)].compactMap { $0 } + plan.warnings
        exports.add(to: &plan)
        return plan
    }

    /// The same preparation where keys have other values, and its samples.
    ///
    /// - Parameter dataset: the samples of this preparation's recipe.
    /// - Returns: nil where a run would refuse the data.
    /// - Throws: exit 4 when samples cannot be read.
    func changed(_ changes: [KeyChange], _ dataset: Dataset) throws -> (preparation: Preparation, data: Dataset.Narrowed)? {
        var preparation = self
        for change in changes { preparation.recipe.set(change.key, change.value) }
        let settings = try DatasetSettings(preparation.recipe)
        guard try settings != DatasetSettings(recipe) else { return (preparation, Dataset.Narrowed(whole: dataset)) }
        guard let data = try dataset.narrowed(to: settings, splits: splitsData) else { return nil }
        return (preparation, data)
    }

    /// What the plan is made from.
    ///
    /// - Parameter machine: one whose rates are known; nil measures this one.
    func planner(
        _ dataset: Dataset, merges: Bool, exports: [PlannedExport], card: PlannedCard?, cpu: CPU, machine: PlannedMachine? = nil
    ) throws -> Planner {
        let settings = recipe.trainingSettings(tokensPerBatch: Planner.tokensPerBatch)
        try requirePlannable(settings, samples: dataset.train.count)
        var model = PlannedModel(
            source: source, storage: recipe.storage(for: source), lora: recipe.loraSettings, mergedElementBytes: merges ? recipe.mergeType.blockBytes : 0)
        model.comparedStorage = mergedStorage
        model.otherDiskBytes = Int64(merges ? try Sidecar(source: source.files, files: RealFiles()).bytes() : 0) + Self.recordBytes(settings, dataset)
        model.fuse = recipe.fuse
        model.optimiser = recipe.optimiser
        model.exports = exports
        model.fileBytes = source.configuration.weights.reduce(0) { $0 + Int64(source.tensor($1.tensor)?.byteCount ?? 0) }
        // Before the machine's memory is asked for.
        var data = try plannedData(dataset, settings, onCard: card != nil, cpu)
        data.parallel = { count, body in cpu.parallel(over: count, body) }
        let isMeasured = machine != nil
        var machine = try machine ?? plannedMachine(dataset, card: card, cpu: cpu)
        machine.card = card
        if let ram = recipe.ramBytes { machine.pinnableBytes = min(machine.pinnableBytes, ram / 2) }
        // Disks differ by a factor of ten, which counts where a large model is written. A card that is elsewhere has another disk.
        if !isMeasured, merges, model.fileBytes >= Self.measuredDiskBytes, card?.isElsewhere != true {
            machine.writtenBytesPerSecond = DiskRate.writtenBytesPerSecond(at: recipe.output)
        }
        var intervals = PlannedIntervals(
            evalSteps: recipe.evalSteps, evalSamples: recipe.evalSamples, saveSteps: recipe.saveSteps, saveTotalLimit: recipe.saveTotalLimit)
        intervals.keepsBest = recipe.loadBestModelAtEnd
        return Planner(model: model, data: data, intervals: intervals, answers: try plannedAnswers(dataset), machine: machine)
    }

    /// From this size of the model's files on the disk's rate is measured: it then takes seconds to write the merged model.
    private static let measuredDiskBytes: Int64 = 1_000_000_000

    /// The machine as it is now. Its processor's rate is measured where it trains, or may have to test beside a card that has no room for the model in float32.
    private func plannedMachine(_ dataset: Dataset, card: PlannedCard?, cpu: CPU) throws -> PlannedMachine {
        let elements = source.configuration.weights.reduce(0) { $0 + (source.tensor($1.tensor)?.elementCount ?? 0) }
        let works = card.map { !$0.isElsewhere && 4 * elements > $0.cap } ?? true
        let (processor, shares) =
            works ? try DeviceModel.measured(cpu, columns: source.configuration.hiddenSize) : (.besideCard(threads: cpu.threads), 1)
        // What was freed, and pages of the model's files that only headers were read from, are no part of what the run will hold.
        Machine.returnFreeMemory()
        source.files.giveBackPages()
        var machine = PlannedMachine(threads: cpu.threads, residentBytes: Machine.residentBytes(), processor: processor, card: card)
        if card == nil {
            // Of others' threads, as many want the processors as leave this share to ours.
            let demand = shares * Double(Machine.allProcessors()) - Double(cpu.threads)
            let now = ProcessorUse.now()
            machine.slowdown = Slowdown(threads: cpu.threads) { now.expectedSlowdown(of: $0, since: opened, demand: demand) }
        }
        machine.reading = PlannedReading(dataBytes: dataBytes, samplesAreKept: dataset.isFromStore || (isForLaterStart && keepsSamples))
        return machine
    }

    private func plannedData(_ dataset: Dataset, _ settings: TrainingSettings, onCard: Bool, _ cpu: CPU) throws -> PlannedData {
        let train = dataset.train.lengths
        var data = PlannedData(
            train: train, validation: dataset.validation.lengths, steps: settings.totalSteps(samples: train.count), samplesPerStep: settings.samplesPerStep,
            packing: recipe.packing, lengthsOfEpoch: { StepSampler.lengths(train, ofEpoch: $0, settings) })
        guard !onCard else { return data }
        guard Session.sharesPrefixes(source.configuration.family, onCard: onCard) else {
            data.evaluation = PlannedBatches(data.validation, tokensPerBatch: Planner.tokensPerBatch)
            return data
        }
        let groups = try dataset.validation.evaluationGroups(tokensPerBatch: Planner.tokensPerBatch, sharing: true)
        data.evaluation = PlannedBatches(groups, tokens: dataset.validation.lengths.reduce(0) { $0 + $1.tokens })
        if settings.sharesPrefixes {
            let replicas = Replicas(threads: cpu.threads, samplesPerStep: data.samplesPerStep)
            let (sampler, steps) = (StepSampler(settings: settings, count: train.count), data.steps)
            data.sharing = try PlannedBatches(sharing: dataset.train, sampler, steps: steps, replicas)
            data.sharingAlone = { try PlannedBatches(sharing: dataset.train, sampler, steps: steps, .one) }
        }
        return data
    }

    /// The answers of the test: how long their prompts are, and the answers in the data.
    private func plannedAnswers(_ dataset: Dataset) throws -> PlannedAnswers {
        let test = try answerTest(dataset)
        let requests = test.rows.map { GenerationRequest(prompt: $0.promptIDs, maxNewTokens: test.maxNewTokens) }
        var answers = PlannedAnswers(
            rows: requests.count, longestPrompt: requests.map(\.prompt.count).max() ?? 0, maxNewTokens: test.maxNewTokens)
        answers.expected = test.expected.map { $0 + 1 }
        answers.promptTokens = Session.promptTokens(requests, sharing: Session.sharesPrompts(source.configuration.family))
        return answers
    }

    /// What measurements of a run are kept under.
    func subject(card: PlannedCard?, cpu: CPU) -> Measurements.Subject {
        Measurements.Subject(source.configuration, recipe.storage(for: source), card: card?.properties, card?.element ?? .f32, cpu)
    }

    /// Reads the records of a recipe whose run a later process starts.
    ///
    /// - Parameters:
    ///   - files: of the cache folder.
    ///   - check: called between the parts of the work; what it throws ends it.
    /// - Returns: what plans the run as people are shown it, with a warning where the file of measurements cannot be used.
    package static func planner(
        _ located: InputLocator.LocatedRecipe, card: PlannedCard?, cpu: CPU, cacheFolder: String?, files: any Files, check: () throws -> Void = {}
    ) throws -> (planner: RunPlanner, warning: String?) {
        var preparation = try Preparation(recipe: located.recipe, files: located.files)
        try check()
        // For a card, samples are planned by their lengths; of their bytes only the test's questions are read. The run checks all of them.
        let dataset = try preparation.loadData(cacheFolder: cacheFolder, checksSamples: card == nil, files: located.files, cpu: cpu)
        try check()
        preparation.isForLaterStart = true
        let (measurements, warning) = measurements(for: card, cacheFolder: cacheFolder, files: files)
        return (RunPlanner(preparation, dataset, merges: true, card: card, cpu: cpu, measurements: measurements), warning)
    }

    /// What earlier runs on this machine took, by which the minutes that people are shown are corrected.
    ///
    /// - Returns: with a warning where the file of measurements cannot be used.
    static func measurements(for card: PlannedCard?, cacheFolder: String?, files: any Files) -> (Measurements, warning: String?) {
        guard let cacheFolder, card?.isElsewhere != true else { return (Measurements(), nil) }
        return Measurements.read(from: cacheFolder, files: files)
    }

    /// Bytes of a run's records: events.jsonl with a line a step and a log line, report.html (twice while it is written again), TensorBoard's files
    /// and the rest.
    private static func recordBytes(_ settings: TrainingSettings, _ dataset: Dataset) -> Int64 {
        let steps = Int64(settings.totalSteps(samples: dataset.train.count))
        return (3 << 20) + 600 * steps + 1200 * steps / Int64(max(1, settings.loggingSteps))
    }

    /// The plan packs every step's samples, so their number is bounded: far above what a machine trains, low enough for half a minute, or seven where their
    /// beginnings are compared.
    private static let mostVisits = 100_000_000

    private func requirePlannable(_ settings: TrainingSettings, samples: Int) throws {
        let steps = settings.totalSteps(samples: samples)
        let (product, overflows) = steps.multipliedReportingOverflow(by: min(settings.samplesPerStep, max(1, samples)))
        guard overflows || product > Self.mostVisits else { return }
        throw LorikeetError.input(
            "\(steps) steps train \(overflows ? "too many" : "\(product)") samples (of \(samples) records); a run has at most \(Self.mostVisits)",
            at: recipe.maxSteps > 0 ? "max_steps" : "num_train_epochs",
            fix: "lower it; a longer training can be split: name a finished run's adapter as init_adapter of the next run")
    }

    /// The training program of a plan as a table, with the predicted time of each op.
    package func listing(of plan: Plan, card: PlannedCard?, cpu: CPU) throws -> String {
        let (program, load) = try trainingProgram(of: plan, card: card, ModelPrograms(source.configuration))
        let model =
            try card.map { DeviceModel.predicting($0.properties, $0.element) }
            ?? DeviceModel.measured(cpu, columns: source.configuration.hiddenSize).model
        return program.training?.listing(load, model) ?? ""
    }
}

extension PlannedBatches {
    /// All optimiser steps on the processor, in which samples share what they begin with.
    ///
    /// - Throws: exit 4 when samples cannot be read.
    fileprivate init(sharing set: SampleSet, _ sampler: StepSampler, steps: Int, _ replicas: Replicas) throws {
        self.init()
        for step in 0..<steps {
            let samples = try set.samples(at: sampler.samples(ofStep: step).indices)
            let groups = [SampleGroup].ofStep(replicas, rows: Planner.tokensPerBatch) { .sharing(samples, tokensPerBatch: $0) }
            add(groups, tokens: samples.reduce(0) { $0 + $1.ids.count })
        }
    }
}
