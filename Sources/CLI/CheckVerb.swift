import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetJSON

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
        let files = located.files
        var preparation = try Preparation(recipe: located.recipe, files: files)
        Screen.warn(preparation.warnings)
        let dataset = try preparation.loadData(cacheFolder: Notebook.samplesFolder, files: files, cpu: DeviceRequest(recipe).processor)
        let samples = try dataset.preview(rows, tokenizer: preparation.tokenizer)
        if parsed.flags.contains("json") {
            var report = dataset.report.json.object ?? [:]
            if parsed.extra["rows"] != nil { report["samples"] = .array(samples.map(Self.json)) }
            Screen.note(notes)
            Screen.out(JSON.object(report).serialized(pretty: true) + "\n")
        } else {
            for note in notes + dataset.report.notes { Screen.out("note: \(note)\n") }
            Screen.out(dataset.report.table())
            let colours = Screen.isTerminal && getenv("NO_COLOR") == nil
            for sample in samples {
                let words = colours ? "what is learnt is green and underlined" : "what is learnt stands in [brackets]"
                Screen.out("\nrecord \(sample.record), \(sample.tokens.count) tokens, a space is ·; \(words):\n")
                // The texts in it are escaped; the colours are not.
                Screen.withControls(sample.text(colours ? .colours : .visibleSpaces) + "\n")
            }
            for missing in rows.missing(in: samples.map(\.record)) {
                Screen.out("\nrecord \(missing) is no training sample: it was not chosen, or cannot be used\n")
            }
            for warning in dataset.report.warnings { Screen.out("warning: \(warning)\n") }
        }
        if let error = dataset.report.error(.checkFailed) { throw error }
    }

    private static func json(_ sample: SamplePreview) -> JSON {
        [
            "record": JSON(sample.record), "ids": .array(sample.tokens.map { JSON(Int($0.id)) }),
            "mask": .array(sample.tokens.map { JSON($0.trained ? 1 : 0) }),
            "tokens": .array(sample.tokens.map { ["id": JSON(Int($0.id)), "text": .string($0.text), "trained": .bool($0.trained)] }),
        ]
    }
}
