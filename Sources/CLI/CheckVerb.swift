import ArgumentParser
import Lorikeet
import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetJSON

struct CheckVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Reads data and template only: counts, lengths, and the first rows as tokens with the learnt ones marked.")
    @Argument(parsing: .captureForPassthrough) var rest: [String] = []

    func run() throws {
        guard
            let parsed = try RecipeArguments.parse(
                rest, verb: "check", abstract: Self.configuration.abstract, example: "lorikeet check --model model.gguf --data train.jsonl",
                flags: [("json", "Print the report as JSON.")], valued: [("rows", "Rows to show [2].")])
        else { return }
        let (recipe, notes) = try parsed.recipe()
        guard let rows = Int(parsed.extra["rows"] ?? "2"), rows >= 0 else { throw LorikeetError.input("--rows has to be a whole number") }
        let files = RealFiles()
        var preparation = try Preparation(recipe: HubInputs.locate(recipe), files: files)
        Screen.warn(preparation.source.warnings)
        let dataset = try preparation.loadData(files: files, cpu: CPU())
        if parsed.flags.contains("json") {
            var report = dataset.report.json.object ?? [:]
            if parsed.extra["rows"] != nil {
                report["samples"] = .array(dataset.preview(rows: rows, tokenizer: preparation.tokenizer).map(Self.json))
            }
            Screen.note(notes)
            Screen.out(JSON.object(report).serialized(pretty: true) + "\n")
        } else {
            for note in notes { Screen.out("note: \(note)\n") }
            Screen.out(dataset.report.json.serialized(pretty: true) + "\n")
            for sample in dataset.preview(rows: rows, tokenizer: preparation.tokenizer) {
                Screen.out("\nrecord \(sample.record), \(sample.tokens.count) tokens; what is learnt stands in [brackets]:\n\(sample.text)\n")
            }
            for warning in dataset.report.warnings { Screen.out("warning: \(warning)\n") }
        }
        if let error = dataset.report.error(.checkFailed) { throw error }
    }

    private static func json(_ sample: SamplePreview) -> JSON {
        [
            "record": JSON(sample.record),
            "tokens": .array(sample.tokens.map { ["id": JSON(Int($0.id)), "text": .string($0.text), "trained": .bool($0.trained)] }),
        ]
    }
}
