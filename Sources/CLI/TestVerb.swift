import ArgumentParser
import Lorikeet
import LorikeetDevices
import LorikeetGround

struct TestVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Base, base + adapter and merged model on held-out rows: losses, right answers, the three proofs.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        guard
            let parsed = try RecipeArguments.parse(
                rest, verb: "test", abstract: Self.configuration.abstract,
                example: "lorikeet test --model model.gguf --data data --adapter out/adapter --merged out/merged",
                flags: [("json", "Print the result as JSON.")],
                valued: [("adapter", "A PEFT adapter folder [OUTPUT/adapter]."), ("merged", "The merged model [OUTPUT/merged].")])
        else { return }
        let (recipe, notes) = try parsed.recipe()
        Screen.note(notes)
        let result = try StandaloneTest(
            recipe: HubInputs.locate(recipe), adapter: parsed.extra["adapter"].map { try HubInputs.adapter($0) } ?? recipe.output + "/adapter",
            merged: parsed.extra["merged"].map { try HubInputs.model($0) } ?? recipe.output + "/merged",
            cacheFolder: Notebook.samplesFolder, open: DeviceOptions.open
        ).run()
        Screen.warn(result.warnings)
        Screen.out(parsed.flags.contains("json") ? result.json.serialized(pretty: true) + "\n" : result.text + "\n")
        if let error = result.error { throw error }
    }
}
