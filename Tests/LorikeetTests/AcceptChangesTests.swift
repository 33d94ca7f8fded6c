import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// `--accept-changes`: settings and inputs that have changed since the run began.
struct AcceptChangesTests {
    private func accepting(_ environment: inout PipelineEnvironment) { environment.acceptsChanges = true }

    @Test func `a changed setting is refused with the difference, and accepted and recorded where that is asked for`() throws {
        var run = try TinyRun()
        let first = try run.run(on: nil, goal: .adapter, stopAfter: 3)
        #expect(first.error?.exit == .stoppedEarly)
        run.options["learning-rate"] = "5e-3"
        let refused = try run.run(on: nil, goal: .adapter)
        #expect(refused.error?.exit == .unusableInput && refused.error?.description.contains("learning_rate: 0.01 -> 0.005") == true)
        #expect(refused.error?.fix?.contains("--accept-changes") == true && refused.count(.step) == 0)
        let accepted = try run.run(on: nil, goal: .adapter, change: accepting)
        #expect(accepted.error == nil && accepted.count(.step) == 3)
        #expect(accepted.texts.contains("changed since the run began, and accepted: learning_rate: 0.01 -> 0.005"), "\(accepted.texts)")
        let recorded = try run.json("changes.json")["accepted"]?.array ?? []
        #expect(recorded.count == 1 && recorded[0]["steps"]?.int == 3 && recorded[0]["changes"]?.array?.count == 1)
        #expect(accepted.summary?["accepted_changes"]?.array?.count == 1)
        // From now on it is this run's setting.
        let again = try run.run(on: nil, goal: .adapter)
        #expect(again.error == nil && again.count(.step) == 0)
    }

    @Test func `changed data are accepted, and a finished run is trained on where it has more steps`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let adapter = try run.adapter()
        let file = run.folder + "/train.jsonl"
        let text = try String(contentsOfFile: file, encoding: .utf8)
        try text.replacingOccurrences(of: "say 3:", with: "tell 3:").write(toFile: file, atomically: true, encoding: .utf8)
        let refused = try run.run(on: nil)
        #expect(refused.error?.exit == .unusableInput && refused.error?.place == file && refused.error?.fix?.contains("--accept-changes") == true)
        run.options["num-train-epochs"] = "2"
        let accepted = try run.run(on: nil, change: accepting)
        #expect(accepted.error == nil && accepted.count(.step) == 6, "\(String(describing: accepted.error))")
        #expect(accepted.texts.contains { $0.hasPrefix("changed since the run began, and accepted: \(file)") })
        #expect(try run.adapter() != adapter && run.json("summary.json")["steps"]?.int == 12)
        #expect(try run.run(on: nil).error == nil)
    }

    @Test func `what no checkpoint fits is refused all the same`() throws {
        var run = try TinyRun()
        _ = try run.run(on: nil, goal: .adapter, stopAfter: 2)
        run.options["lora-r"] = "3"
        let refused = try run.run(on: nil, goal: .adapter, change: accepting)
        #expect(refused.error?.exit == .unusableInput && refused.error?.fix?.contains("checkpoints do not fit other trained tensors") == true)
        #expect(try RealFiles().list(run.output + "/checkpoints").contains("step-000002"))
    }

    @Test func `with nothing changed the option changes nothing`() throws {
        let run = try TinyRun()
        _ = try run.run(on: nil, goal: .adapter, stopAfter: 3)
        let rest = try run.run(on: nil, goal: .adapter, change: accepting)
        let calm = try TinyRun()
        _ = try calm.run(on: nil, goal: .adapter)
        #expect(try rest.error == nil && run.adapter() == calm.adapter() && !RealFiles().exists(run.output + "/changes.json"))
    }
}
