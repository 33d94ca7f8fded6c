import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetReporting

extension Pipeline {
    /// The last lines of the report: what was planned and what happened, and paths.
    func closingLines(_ plan: Plan, _ summary: JSON) -> String {
        var record = RunRecord(name: "", log: RunLog())
        (record.plan, record.summary, record.diskBytes) = (plan.json, summary, summary["disk_bytes"]?.double)
        var lines = [PredictedMeasured(record).text, "", "adapter           \(output.adapter)"]
        if goal == .testedModel {
            lines.append("merged model      \(output.merged)")
            lines += output.parts.exported.map { "export            \(output.parts.place($0))" }
        }
        return lines.joined(separator: "\n")
    }

    /// What `train` ends with: the loss on held-out records where there are any, the closing lines, and the command that goes on from here.
    func trainedText(_ plan: Plan, _ summary: JSON) -> String {
        let loss = summary["validation_loss_after"]?.double.map { "validation loss   \(Figures.loss($0))\n\n" } ?? ""
        return loss + closingLines(plan, summary) + "\nto merge it       \(MissingPart.finishing(output))"
    }

    /// That the run is finished, and its result in a few lines: losses, right answers, verdicts of the proofs, and where its parts are.
    ///
    /// - Parameter summary: its summary.json.
    func finishedText(_ summary: JSON) -> String {
        func loss(_ key: String, _ group: String? = nil) -> String? {
            (group.map { summary[$0]?[key] } ?? summary[key])?.double.map(Figures.loss)
        }
        func percent(_ key: String) -> String? { summary[key]?.double.flatMap { $0.isFinite ? "\(Int(($0 * 100).rounded())) %" : nil } }
        var lines = ["this run is finished: \(output.summaryJSON)"]
        func add(_ name: String, _ value: String) { lines.append(name.padded(to: 18) + value) }
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
        for (name, words) in ExportedForm.lines(of: summary) { add(name, words) }
        add("adapter", output.adapter)
        add("merged model", output.merged)
        for part in output.parts.exported { add("export", output.parts.place(part)) }
        return lines.joined(separator: "\n")
    }
}
