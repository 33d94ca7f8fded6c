import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// The test of a run's forms without the run: `lorikeet test`.
package struct StandaloneTest {
    let recipe: Recipe
    let adapter: String
    let merged: String

    package init(recipe: Recipe, adapter: String, merged: String) {
        self.recipe = recipe
        self.adapter = adapter
        self.merged = merged
    }

    package struct Result {
        package let json: JSON
        package let text: String
        package let passes: Bool
    }

    package func run() throws -> Result {
        let files = RealFiles()
        let cpu = CPU(threads: recipe.threads > 0 ? recipe.threads : nil)
        let adapterFile = try AdapterFile.read(directory: adapter, files: files)
        let mergedSource = try ModelSource.open(merged, files: files)
        var preparation = try Preparation(recipe: recipe, files: files)
        let dataset = try preparation.loadData(files: files, cpu: cpu)
        let plan = try preparation.plan(dataset, merges: true, cpu: cpu, clock: SystemClock())
        let c = adapterFile.configuration
        let model = try Model(
            source: preparation.source, storage: plan.choices.storage,
            lora: LoRASettings(r: c.r, alpha: c.alpha, targetModules: c.targetModules, useRSLoRA: c.useRSLoRA), cpu: cpu)
        try model.loadAdapter(adapterFile)
        let result = try FormsTest(
            preparation: preparation, dataset: dataset, choices: plan.choices, trained: model, merged: mergedSource, adapter: adapter, files: files
        ).run()
        return Result(json: .object(result.fields), text: result.text(), passes: result.identityPasses && result.transferPasses)
    }
}
