import ArgumentParser
import Lorikeet
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe

struct PlanVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Memory, disk and minutes of a run, without loading weights or fetching them.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        guard
            let parsed = try RecipeArguments.parse(
                rest, verb: "plan", abstract: Self.configuration.abstract, example: "lorikeet plan --config run.yaml --compare full",
                flags: [
                    ("json", "Print the plan as JSON."), ("explain", "List the training program: shapes, predicted time, lifetime and offset of every op."),
                ],
                valued: [("compare", "A second preset to put beside this one.")])
        else { return }
        if parsed.flags.contains("explain"), parsed.flags.contains("json") || parsed.extra["compare"] != nil {
            throw LorikeetError.input("--explain cannot be combined with --json or --compare", fix: "leave one of them out")
        }
        if let other = parsed.extra["compare"], !KeyTable.presets.contains(other) {
            throw LorikeetError.input("there is no preset '\(other)'", at: "--compare", fix: "give one of \(KeyTable.presets.joined(separator: ", "))")
        }
        let (recipe, notes) = try parsed.recipe()
        Screen.note(notes)
        let compute = try DeviceOptions.open(recipe)
        Screen.warn(DeviceRequest.idleWarnings(recipe, on: compute))
        var (plan, preparation, download) = try plan(recipe, compute)
        let begun = try begun(recipe)
        let time = SessionTime.of(recipe, plan, begun: begun, elapsed: Notebook.elapsed)
        plan.sessionsNeeded = time?.total
        if parsed.flags.contains("explain") {
            Screen.out(try preparation.listing(of: plan, compute: compute, clock: SystemClock()))
        } else if let other = parsed.extra["compare"] {
            let second = try parsed.recipe(preset: other).recipe
            let otherPlan = try self.plan(second, compute).plan
            if parsed.flags.contains("json") {
                let both: JSONObject = [recipe.preset: plan.json, other: otherPlan.json]
                Screen.out(JSON.object(both).serialized(pretty: true) + "\n")
            } else {
                Screen.out(Plan.comparison((recipe.preset, plan), (other, otherPlan)))
            }
        } else {
            let shown = FineTuning.Plan(plan, download: download, begun: begun, time: time)
            Screen.out(parsed.flags.contains("json") ? shown.json + "\n" : shown.description)
        }
        guard begun?.isFinished != true else { return }
        try plan.requireFit(for: recipe, download: download, files: Notebook.files)
        if let warning = try time?.check(goesOn: begun != nil) { Screen.warn([warning]) }
    }

    /// The run that this recipe would go on with.
    private func begun(_ recipe: Recipe) throws -> BegunRun? {
        var environment = PipelineEnvironment(files: Notebook.files, locator: HubInputs.locator())
        (environment.notebook, environment.inputFolders) = (Notebook.service, Notebook.inputFolders)
        if let session = Notebook.session { environment.session = session }
        let search = try BegunRun.find(recipe, goal: .testedModel, environment)
        Screen.note(search.notes)
        Screen.warn(search.warnings)
        return search.run
    }

    private func plan(_ recipe: Recipe, _ compute: Compute) throws -> (plan: Plan, preparation: Preparation, download: InputLocator.Download?) {
        let located = try HubInputs.locateWithoutWeights(recipe)
        var preparation = try Preparation(recipe: located.recipe, files: located.files)
        let dataset = try preparation.loadData(cacheFolder: Notebook.samplesFolder, files: located.files, cpu: compute.cpu)
        return (try preparation.plan(dataset, merges: true, compute: compute, clock: SystemClock()), preparation, located.download)
    }
}
