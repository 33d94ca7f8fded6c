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
    package let recipe: Recipe
    package let source: ModelSource
    package let tokenizer: Tokenizer
    package let template: ChatTemplate?
    package var dataset: Dataset?

    /// Opens the model's files; reads no weights.
    package init(recipe: Recipe, files: any Files) throws {
        guard let model = recipe.model else {
            throw LorikeetError.input("no model named", at: "model", mend: "give --model DIRECTORY-OR-GGUF or 'model:' in the recipe")
        }
        self.recipe = recipe
        source = try ModelSource.open(model, files: files)
        // Families and target modules are refused before anything is read that takes time.
        _ = try AdapterLayout(recipe.loraSettings, linears: source.configuration.family.linears())
        let tokenizer = try Tokenizer.load(from: source.files)
        self.tokenizer = tokenizer
        template = try tokenizer.chatTemplateSource.map {
            try ChatTemplate($0, name: "chat template of \(model)", specialTokens: tokenizer.namedTokens)
        }
    }

    /// Reads and formats the records.
    ///
    /// - Throws: exit 2 as `Dataset.load` says, for tokens that the model has no row for among others.
    package mutating func loadData(files: any Files, cpu: CPU) throws -> Dataset {
        guard recipe.data != nil else {
            throw LorikeetError.input("no training data named", at: "data", mend: "give --data FILE or 'data:' in the recipe")
        }
        let loaded = try Dataset.load(
            recipe: recipe, tokenizer: tokenizer, template: template, embeddingRows: source.configuration.vocabularySize, files: files, cpu: cpu)
        dataset = loaded
        return loaded
    }

    /// Rows that are answered in the test.
    package func answerTest(_ dataset: Dataset, slots: Int = Planner.slots) -> AnswerTest {
        AnswerTest(rows: Array(dataset.heldOut.prefix(recipe.testSamples)), tokenizer: tokenizer, slots: slots)
    }

    /// The form of the base that the merged model has to equal, with the adapter beside it.
    package var mergedStorage: BaseStorage { recipe.mergeInto == "trained" ? recipe.storage(for: source) : .stored }

    /// The plan of a run on `dataset` where `compute` computes.
    package func plan(_ dataset: Dataset, merges: Bool, compute: Compute, clock: any Clock) throws -> Plan {
        let settings = recipe.trainingSettings(tokensPerBatch: Planner.tokensPerBatch)
        let test = answerTest(dataset)
        let sampler = StepSampler(settings: settings, count: dataset.train.count)
        let card = try PlannedCard(compute, gpuMemory: recipe.gpuMemoryBytes)
        var planner = Planner(
            source: source, storage: recipe.storage(for: source), lora: recipe.loraSettings, train: dataset.train.map(Planner.Length.init),
            validation: dataset.validation.map(Planner.Length.init), samplesOfStep: { sampler.samples(ofStep: $0).indices },
            steps: settings.totalSteps(samples: dataset.train.count), packing: recipe.packing, evalSteps: recipe.evalSteps,
            evalSamples: recipe.evalSamples, saveTotalLimit: recipe.saveTotalLimit, saveSteps: recipe.saveSteps, testRows: test.rows.count,
            longestPrompt: test.rows.map(\.promptIDs.count).max() ?? 0, maxNewTokens: test.maxNewTokens,
            mergedElementBytes: merges ? recipe.mergeType.blockBytes : 0, threads: compute.cpu.threads, residentBytes: Machine.residentBytes(),
            // Beside a card the processor has little to do: what it reaches need not be measured.
            rates: card == nil
                ? try DeviceRates.measured(compute.cpu, columns: source.configuration.hiddenSize, clock: clock)
                : DeviceRates(matrixFlops: 1e11, bytes: 8e9), card: card)
        planner.comparedStorage = mergedStorage
        planner.fuse = recipe.fuse
        var plan = try planner.plan()
        plan.warnings = source.warnings + plan.warnings
        return plan
    }
}
