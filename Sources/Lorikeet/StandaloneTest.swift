import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// `lorikeet test`: the test of base, base + adapter and merged model, for an adapter and a merged model that exist already.
package struct StandaloneTest {
    let recipe: Recipe
    /// The PEFT folder, and the merged model's folder.
    let adapter: String
    let merged: String

    /// Opens what the recipe computes on.
    let open: (Recipe) throws -> Compute

    /// Where samples are kept between starts; nil keeps them in memory.
    let cacheFolder: String?

    package init(recipe: Recipe, adapter: String, merged: String, cacheFolder: String? = nil, open: @escaping (Recipe) throws -> Compute) {
        self.open = open
        self.cacheFolder = cacheFolder
        self.recipe = recipe
        self.adapter = adapter
        self.merged = merged
    }

    package struct Result {
        package let json: JSON
        package let text: String
        /// Why the test did not pass: a proof failed, or had nothing to compare. nil where all passed.
        package let error: LorikeetError?
        /// Warnings about what the models' files hold and the program does not use.
        package let warnings: [String]
    }

    /// - Throws: exit 2 where model, adapter, merged model or data cannot be used or do not belong together, exit 4 when the machine fails. A failed
    ///   proof is no error here: see `Result.error`.
    package func run() throws -> Result {
        let files = RealFiles()
        let recipe = try tested(files)
        for part in [adapter, merged] { if let error = MissingPart.error(at: part, files: files) { throw error } }
        let adapterFile = try AdapterFile.read(directory: adapter, files: files)
        let mergedSource = try ModelSource.open(merged, files: files)
        let compute = try open(recipe)
        var preparation = try Preparation(recipe: recipe, files: files, adapter: adapter)
        let lora = try LoRASettings(adapterFile, weights: preparation.source.configuration.weights)
        let dataset = try preparation.loadData(cacheFolder: cacheFolder, files: files, cpu: compute.cpu)
        let plan = try preparation.plan(dataset, merges: true, compute: compute)
        let result = try FormsTest(
            preparation: preparation, dataset: dataset, choices: plan.choices, compute: compute, lora: lora, merged: mergedSource, adapter: adapter,
            files: files, record: TestRecord(files: files)
        ).run(trained: nil)
        let untested = result.notTested.first.map { LorikeetError(.checkFailed, $0, at: merged) }
        return Result(
            json: .object(result.fields), text: result.text(), error: result.failure(merged: merged) ?? untested,
            warnings: preparation.warnings + mergedSource.warnings + otherRows(files))
    }

    /// The recipe with records to train on. A test trains nothing, but chooses its batches as a run would: where evaluation records alone are named, by
    /// those.
    private func tested(_ files: any Files) throws -> Recipe {
        guard recipe.data.isEmpty else { return recipe }
        guard !recipe.validation.isEmpty else {
            throw LorikeetError.input(
                "no records to test on are named", at: "validation", fix: "give --validation FILE, or --data and the share of it that is held out")
        }
        var tested = recipe
        tested.set("data", .list(try DataFiles.heldOut(recipe.validation, files: files)))
        return tested
    }

    /// A warning where the adapter's own run split off other records than this recipe does: some of these may have been trained on.
    private func otherRows(_ files: any Files) -> [String] {
        guard recipe.validation.isEmpty, let run = OutputDirectory.recipe(ofPart: adapter, files: files) else { return [] }
        let different = recipe.differences(from: run, keys: Self.heldOutKeys)
        guard !different.isEmpty else { return [] }
        return [
            "these are not the records that the adapter's run held out (\(different.joined(separator: ", "))), so it may have been trained on some of them: "
                + "give the run's recipe, --config \(OutputDirectory(path: RealFiles.parent(of: adapter), files: files).runYAML), to test on those"
        ]
    }

    /// The keys that decide which records of a training file are held out.
    private static let heldOutKeys: Set = ["validation_share", "max_train_samples", "max_validation_samples", "sample", "seed"]
}
