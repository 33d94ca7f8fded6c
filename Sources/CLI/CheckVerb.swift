import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDatasets
import LorikeetGround

struct CheckVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Reads data and template only: counts, lengths, and rows as tokens with the learnt ones marked.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        guard
            let parsed = try RecipeArguments.parse(
                rest, verb: "check", abstract: Self.configuration.abstract, example: "lorikeet check --model model.gguf --data train.jsonl",
                flags: [("json", "Print the report as JSON.")],
                valued: [("rows", "Training rows to show: so many from the beginning [2], or which ones, counted from 0 (0,5-7).")])
        else { return }
        let (recipe, notes) = try parsed.recipe()
        let rows = try PreviewRows(parsed.extra["rows"] ?? "2")
        let located = try HubInputs.locateWithoutWeights(recipe)
        let check = try FineTuning.DataCheck(located, rows: rows, cacheFolder: Notebook.samplesFolder) { Screen.warn($0) }
        if parsed.flags.contains("json") {
            Screen.note(notes)
            Screen.out(check.json(withSamples: parsed.extra["rows"] != nil) + "\n")
        } else {
            for note in notes + check.report.notes { Screen.out("note: \(note)\n") }
            Screen.out(check.description)
            let colours = Screen.isTerminal && getenv("NO_COLOR") == nil
            for sample in check.previews {
                let words = colours ? "what is learnt is green and underlined" : "what is learnt stands in [brackets]"
                Screen.out("\nrecord \(sample.record), \(sample.tokens.count) tokens, a space is ·; \(words):\n")
                // The texts in it are escaped; the colours are not.
                Screen.withControls(sample.text(colours ? .colours : .visibleSpaces) + "\n")
            }
            for missing in rows.missing(in: check.previews.map(\.record)) {
                Screen.out("\nrecord \(missing) is no training sample: it was not chosen, or cannot be used\n")
            }
            for warning in check.warnings { Screen.out("warning: \(warning)\n") }
        }
        if let failure = check.failure { throw failure.error }
    }
}
