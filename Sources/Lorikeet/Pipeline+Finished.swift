import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetReporting

extension Pipeline {
    /// That the run is finished, and its result in a few lines: losses, right answers, verdicts of the proofs, and where its parts are.
    ///
    /// - Parameter summary: its summary.json.
    func finishedText(_ summary: JSON) -> String {
        func loss(_ key: String, _ group: String? = nil) -> String? {
            (group.map { summary[$0]?[key] } ?? summary[key])?.double.map { $0.isFinite ? Terminal.figure($0) : "not a finite number" }
        }
        func percent(_ key: String) -> String? { summary[key]?.double.flatMap { $0.isFinite ? "\(Int(($0 * 100).rounded())) %" : nil } }
        var lines = ["this run is finished: \(output.summaryJSON)"]
        func add(_ name: String, _ value: String) { lines.append(Plan.padded(name, 18) + value) }
        if let after = loss("validation_loss_after") {
            let merged = goal == .testedModel ? loss("merged_loss", "transfer").map { " (merged \($0))" } ?? "" : ""
            add("validation loss", (loss("validation_loss_before").map { "\($0) -> " } ?? "") + after + merged)
        }
        guard goal == .testedModel else {
            add("adapter", output.adapter)
            return lines.joined(separator: "\n")
        }
        if let before = percent("answers_right_before"), let after = percent("answers_right_after") { add("right answers", "\(before) -> \(after)") }
        for (key, name) in [("merged_matches_adapter", "merged = adapter"), ("transfer", "transfer"), ("sidecar", "sidecar")] {
            add(name, summary[key]?["pass"]?.bool.map { $0 ? "pass" : "FAIL" } ?? "not tested")
        }
        add("adapter", output.adapter)
        add("merged model", output.merged)
        for part in output.parts.exported { add("export", output.parts.place(part)) }
        return lines.joined(separator: "\n")
    }
}
