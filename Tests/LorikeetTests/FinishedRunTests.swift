import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetReporting
import Testing

@testable import Lorikeet

/// What the same command says of a finished run, and what a run warns of that does not concern its result.
struct FinishedRunTests {
    @Test func `a finished run repeats its result`() throws {
        var run = try TinyRun()
        run.options["validation-share"] = "0.25"
        run.options["merge-tolerance"] = "10"
        #expect(try run.run(on: nil).error == nil)
        let again = try run.run(on: nil)
        let text = try #require(again.texts.first { $0.hasPrefix("this run is finished: \(run.output)/summary.json\n") }, "\(again.texts)")
        let summary = try run.json("summary.json")
        func loss(_ value: JSON?) throws -> String { Figures.loss(try #require(value?.double)) }
        let (before, after) = (try loss(summary["validation_loss_before"]), try loss(summary["validation_loss_after"]))
        for line in [
            "validation loss   \(before) -> \(after) (merged \(try loss(summary["transfer"]?["merged_loss"])))", "right answers     ",
            "merged = adapter  pass", "transfer          pass", "sidecar           pass", "adapter           \(run.output)/adapter",
            "merged model      \(run.output)/merged",
        ] { #expect(text.split(separator: "\n").contains { $0 == line || line.last == " " && $0.hasPrefix(line) }, "\(line):\n\(text)") }
        #expect(again.count(.phase) == 0)
    }

    @Test func `samples that are longer than the model's context are warned of`() throws {
        let run = try TinyRun()
        #expect(try !run.run(on: nil).texts.contains { $0.contains("max_position_embeddings") })
        let small = try TinyRun()
        let path = small.folder + "/model/config.json"
        var configuration = try #require(JSON.parse(String(contentsOfFile: path, encoding: .utf8), source: "test").object)
        configuration["max_position_embeddings"] = 9
        try JSON.object(configuration).serialized().write(toFile: path, atomically: true, encoding: .utf8)
        let outcome = try small.run(on: nil)
        #expect(
            outcome.texts.contains { $0.contains("longer than the model's context of 9 tokens") && $0.contains("lower max_length") },
            "\(String(describing: outcome.error)) \(outcome.texts)")
    }

    @Test func `the processor's use is measured over twenty ticks at least`() throws {
        let state = MachineState(directory: "/tmp", files: RealFiles(), times: (100, 1000))
        #expect(state.cpuPercent((104, 1010)) == nil)
        #expect(state.cpuPercent((110, 1020)) == 50)
        #expect(state.cpuPercent((110, 1039)) == 50)
        #expect(state.cpuPercent((110, 1040)) == 0 && state.cpuPercent((130, 1060)) == 100)
        #expect(MachineState(directory: "/tmp", files: RealFiles()).fields()["ram_total_bytes"]?.int ?? 0 > 0)
    }
}
