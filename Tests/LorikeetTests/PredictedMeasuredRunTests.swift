import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

struct PredictedMeasuredRunTests {
    @Test func `a run ends with a table of what was planned beside what happened`() throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil)
        let (plan, summary) = (try run.json("plan.json"), try run.json("summary.json"))
        let text = try #require(outcome.events.last { $0.kind == .result }?.fields["text"]?.string)
        let lines = text.split(separator: "\n").map(String.init)
        let start = try #require(lines.firstIndex { $0.contains("planned") && $0.contains("happened") && $0.contains("ratio") })
        func cells(_ name: String) -> [String] {
            lines[start...].first { $0.hasPrefix(name) }?.dropFirst(18).split(separator: "  ", omittingEmptySubsequences: true)
                .map { $0.drop { $0 == " " } }.map(String.init) ?? []
        }
        for name in ["memory", "disk", "steps", "training", "merging", "testing", "time in all", "tokens/s"] {
            #expect(cells(name).count == 3, "\(name): \(lines[start...])")
        }
        let (planned, happened) = (try #require(plan["predicted_rss_bytes"]?.double), try #require(summary["peak_rss_bytes"]?.double))
        let ratio = try #require(Double(cells("memory")[2]))
        #expect(abs(ratio / (happened / planned) - 1) < 0.006)
        #expect((summary["disk_bytes"]?.int ?? 0) > 1000 && (summary["predicted_disk_bytes"]?.int ?? 0) > 1000)
    }

    @Test func `training alone ends with its loss, the table, its adapter and the command that merges it`() throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil, goal: .adapter)
        #expect(outcome.error == nil)
        let results = outcome.events.filter { $0.kind == .result }
        let text = try #require(results.first?.fields["text"]?.string)
        #expect(results.count == 1 && results[0].fields["answers"] == nil && results[0].fields["summary"] == outcome.summary)
        let loss = try #require(outcome.summary?["validation_loss_after"]?.double)
        #expect(text.hasPrefix("validation loss   \(Figures.loss(loss))\n\n                  planned        happened"), "\(text)")
        let command = "lorikeet run --config \(run.output)/run.yaml --output \(run.output)"
        #expect(text.hasSuffix("\nadapter           \(run.output)/adapter\nto merge it       \(command)"), "\(text)")
        #expect(!text.contains("merged model") && !text.contains("merging"))
        let merged = try run.run(on: nil)
        #expect(merged.error == nil && merged.count(.step) == 0 && merged.count(.result) == 1)
    }
}
