import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetRecipe
import LorikeetReporting

struct RunVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "The whole pipeline: check, plan, train, merge, test. The same command resumes.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        try PipelineVerb.run(
            rest, verb: "run", abstract: Self.configuration.abstract, example: "lorikeet run --model model.gguf --data train.jsonl --output out",
            goal: .testedModel)
    }
}

struct TrainVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "train", abstract: "The pipeline up to the adapter. The same command resumes.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        try PipelineVerb.run(
            rest, verb: "train", abstract: Self.configuration.abstract, example: "lorikeet train --config run.yaml --output out", goal: .adapter)
    }
}

/// What `run` and `train` share.
enum PipelineVerb {
    static func run(_ arguments: [String], verb: String, abstract: String, example: String, goal: Pipeline.Goal) throws {
        guard
            let parsed = try RecipeArguments.parse(
                arguments, verb: verb, abstract: abstract, example: example,
                flags: [
                    (
                        "accept-changes",
                        "Go on although settings, data, model or template have changed since the run began; the changes are recorded (docs/resume.md)."
                    ), ("json", "Print the summary as JSON, and nothing else."), ("quiet", "Show only warnings, errors and the result."),
                ],
                valued: [("color", "auto (on a terminal, unless NO_COLOR is set), always or never [auto].")])
        else { return }
        let (recipe, resolved) = try parsed.recipe()
        let notes = resolved + (goal == .adapter ? Self.idleInTraining(parsed) : [])
        let json = parsed.flags.contains("json")
        StopSignal.startCatching(patience: 10)
        let form = Terminal.Form(
            isLive: Screen.isTerminal && !Screen.isDumb, isQuiet: parsed.flags.contains("quiet"), hasColour: try Screen.hasColour(parsed.extra["color"]))
        let terminal = Terminal(form, columns: { Screen.columns() }, write: Screen.withControls)
        var environment = PipelineEnvironment(
            files: Notebook.files, sinks: json ? [] : [terminal], shouldStop: { StopSignal.isCaught }, locator: HubInputs.locator(),
            open: DeviceOptions.open)
        environment.notebook = Notebook.service
        if let session = Notebook.session { environment.session = session }
        environment.inputFolders = Notebook.inputFolders
        environment.acceptsChanges = parsed.flags.contains("accept-changes")
        environment.cacheFolder = Notebook.samplesFolder
        let summary = try Pipeline(recipe: recipe, notes: notes, goal: goal, environment: environment).run()
        if json { Screen.out(summary.serialized(pretty: true) + "\n") } else { Screen.warnOfLostOutput() }
    }

    /// Options of what follows the adapter, with which `train` ends.
    private static func idleInTraining(_ parsed: RecipeArguments) -> [String] {
        let idle = parsed.options.map(\.key).filter { option in
            guard let key = KeyTable.key(option: option) else { return false }
            return key.role == .delivery || ["merge_tolerance", "export_tolerance", "test_samples"].contains(key.name)
        }
        return idle.map { "--\($0) has no effect on train, which ends with the adapter; run merges, exports and tests" }
    }
}
