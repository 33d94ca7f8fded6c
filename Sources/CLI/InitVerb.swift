import ArgumentParser
import LorikeetRecipe

struct InitVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Writes a commented run.yaml to standard output.", discussion: "Example: lorikeet init --preset full > run.yaml")
    @Option(help: "kaggle-free or full.") var preset = "kaggle-free"

    func validate() throws {
        guard KeyTable.presets.contains(preset) else { throw ValidationError("--preset has to be one of \(KeyTable.presets.joined(separator: ", "))") }
    }

    func run() throws { Screen.out(Recipe.commentedTemplate(preset: preset)) }
}
