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
        let time =
            begun?.isFinished == true
            ? nil
            : recipe.sessionSeconds.map { seconds in
                var time = SessionTime(plan, done: begun?.steps ?? 0, session: seconds, elapsed: Notebook.elapsed, starting: 0)
                (time.number, time.sessions) = (begun?.session ?? 1, recipe.sessions)
                return time
            }
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
            Screen.out(parsed.flags.contains("json") ? Self.json(plan, download, begun).serialized(pretty: true) + "\n" : plan.table())
            if let begun, !parsed.flags.contains("json") { Screen.out(begun.words(plan) + "\n") }
            if let time, let total = time.total, !parsed.flags.contains("json") { Screen.out("sessions: \(time.words(total))\n") }
        }
        guard begun?.isFinished != true else { return }
        let files = Notebook.files
        try plan.requireFit(
            availableMemory: Machine.availableMemoryBytes() + Machine.residentBytes(),
            freeDisk: (download?.freeBytes(for: recipe.output, files) ?? files.freeBytes(at: recipe.output))
                + OutputDirectory(path: recipe.output, files: files).keptBytes(), output: recipe.output)
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

    /// A plan, with the bytes that a run fetches first where the weights are still on a hub, and with what is left of a run that has begun.
    private static func json(_ plan: Plan, _ download: InputLocator.Download?, _ begun: BegunRun?) -> JSON {
        guard var object = plan.json.object else { return plan.json }
        if let download { object["download_bytes"] = .integer(download.bytes) }
        if let begun { object["left"] = begun.json(plan) }
        return .object(object)
    }

    private func plan(_ recipe: Recipe, _ compute: Compute) throws -> (plan: Plan, preparation: Preparation, download: InputLocator.Download?) {
        let located = try HubInputs.locateWithoutWeights(recipe)
        var preparation = try Preparation(recipe: located.recipe, files: located.files)
        let dataset = try preparation.loadData(cacheFolder: Notebook.samplesFolder, files: located.files, cpu: compute.cpu)
        return (try preparation.plan(dataset, merges: true, compute: compute, clock: SystemClock()), preparation, located.download)
    }
}
