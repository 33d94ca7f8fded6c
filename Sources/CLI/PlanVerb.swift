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
                valued: [
                    ("compare", "A second preset to put beside this one."),
                    ("as", "Plan for this card without having it: \(CardEntry.all.map(\.name).joined(separator: ", ")); no GPU or library is needed."),
                ])
        else { return }
        if parsed.flags.contains("explain"), parsed.flags.contains("json") || parsed.extra["compare"] != nil {
            throw LorikeetError.input("--explain cannot be combined with --json or --compare", fix: "leave one of them out")
        }
        if let other = parsed.extra["compare"], !KeyTable.presets.contains(other) {
            throw LorikeetError.input("there is no preset '\(other)'", at: "--compare", fix: "give one of \(KeyTable.presets.joined(separator: ", "))")
        }
        let (recipe, notes) = try parsed.recipe()
        Screen.note(notes)
        let device = try Device(recipe, as: parsed.extra["as"])
        Screen.warn(device.warnings)
        let begun = try begun(recipe)
        var (planner, limits, asked, download) = try planning(recipe, device, begun)
        let shown = try asked.plan(&planner, limits, download)
        if parsed.flags.contains("explain") {
            Screen.out(try planner.preparation.listing(of: shown.planned, card: device.card, cpu: device.cpu))
        } else if let other = parsed.extra["compare"] {
            let second = try parsed.recipe(preset: other).recipe
            let otherDevice = try Device(second, as: parsed.extra["as"], opened: device)
            let otherPlan = try planning(second, otherDevice, nil).planner.ownPlan()
            if parsed.flags.contains("json") {
                let both: JSONObject = [recipe.preset: shown.planned.json, other: otherPlan.json]
                Screen.out(JSON.object(both).serialized(pretty: true) + "\n")
            } else {
                Screen.out(Plan.comparison((recipe.preset, shown.planned), (other, otherPlan)))
            }
        } else {
            Screen.out(parsed.flags.contains("json") ? shown.json + "\n" : shown.description)
        }
        Screen.warn(shown.notes)
        if let refusal = shown.refusal { throw refusal }
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

    /// What the plan is made for.
    private struct Device {
        let cpu: CPU
        /// nil plans for the processor.
        let card: PlannedCard?
        var warnings: [String] = []
        /// Open as long as the plan is made.
        private let compute: Compute?

        /// - Parameters:
        ///   - name: a card of the table; nil opens what the recipe names.
        ///   - opened: the device of another plan of this process, which is not opened again.
        init(_ recipe: Recipe, as name: String?, opened: Device? = nil) throws {
            let request = DeviceRequest(recipe)
            if let name {
                (cpu, compute) = (request.processor, nil)
                card = try request.card(named: name, gpuMemory: recipe.gpuMemoryBytes)
                if recipe.device != "auto" { warnings = ["'device' has no effect: --as plans for a card that need not be here"] }
            } else {
                let compute = try opened?.compute ?? DeviceOptions.open(recipe)
                (cpu, self.compute) = (compute.cpu, compute)
                card = try PlannedCard(compute, gpuMemory: recipe.gpuMemoryBytes)
                warnings = DeviceRequest.idleWarnings(recipe, on: compute)
            }
        }
    }

    /// What the plan is made with, and held to.
    private func planning(
        _ recipe: Recipe, _ device: Device, _ begun: BegunRun?
    ) throws -> (planner: RunPlanner, limits: RunLimits, asked: AskedPlan, download: InputLocator.Download?) {
        let located = try HubInputs.locateWithoutWeights(recipe)
        let (planner, warning) = try Preparation.planner(
            located, card: device.card, cpu: device.cpu, cacheFolder: Notebook.samplesFolder, files: Notebook.files)
        if let warning { Screen.warn([warning]) }
        let asked = AskedPlan(recipe, begun: begun, elapsed: Notebook.elapsed, now: SystemClock().now)
        // Memory and disk of another machine are not known here.
        let limits = try asked.limits(
            isElsewhere: device.card?.isElsewhere == true, located.download, notebook: Notebook.service, files: Notebook.files)
        return (planner, limits, asked, located.download)
    }
}
