import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetReporting
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

struct PlannedHappenedTests {
    @Test func `a run's table has what was planned beside what happened`() throws {
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
        for name in ["memory", "disk", "training", "merging", "testing", "time in all", "tokens/s"] {
            #expect(cells(name).count == 3, "\(name): \(lines[start...])")
        }
        let (planned, happened) = (try #require(plan["predicted_rss_bytes"]?.double), try #require(summary["peak_rss_bytes"]?.double))
        #expect(Double(cells("memory")[2]) == (happened / planned * 100).rounded() / 100)
        #expect((summary["disk_bytes"]?.int ?? 0) > 1000 && (summary["predicted_disk_bytes"]?.int ?? 0) > 1000)
    }

    @Test func `after a resume the table is of the steps that were left`() throws {
        var run = try TinyRun()
        run.options["max-steps"] = "4"
        let stopped = try run.run(on: nil, stopAfter: 3)
        #expect(stopped.error?.exit == .stoppedEarly, "\(String(describing: stopped.error))")
        let text = try #require(try run.run(on: nil).events.last { $0.kind == .result }?.fields["text"]?.string)
        #expect(text.contains("(training and time in all are of this start alone: 1 of 4 steps)"), "\(text)")
        // A quarter of the plan's training.
        let plan = Plan(
            choices: .init(storage: .nf4, threads: 1, tokensPerBatch: 1, sizes: .init(training: 1, evaluation: 1, headChunk: 1), passes: PassPolicy.nothing),
            trainingMemory: [], testMemory: [], disk: [],
            phases: [.init("training", 900), .init("evaluation", 100), .init("merging", 20), .init("testing", 40)], steps: 100, trainTokens: 1,
            trainableParameters: 1, warnings: [])
        let summary: JSON = ["phases": ["training": 500, "merging": 20], "seconds": 620]
        func ratios(_ table: PlannedHappened) -> [String: Double] { Dictionary(uniqueKeysWithValues: table.rows.map { ($0.name, $0.ratio ?? -1) }) }
        #expect(ratios(PlannedHappened(plan, summary, done: 75)) == ["training": 2, "merging": 1, "time in all": 2])
        #expect(ratios(PlannedHappened(plan, summary))["training"] == 0.5)
    }
}
