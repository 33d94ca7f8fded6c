import Foundation
import LorikeetEngine
import LorikeetGround
import SimulatedTraining
import Testing

@testable import LorikeetTraining

/// The best checkpoint, and training that ends because none is better any more.
struct BestTests {
    @Test func `the best and the evaluations without a better one are counted as transformers does`() {
        var best = BestEvaluation()
        // EarlyStoppingCallback with a threshold of 0.1: losses, whether each is the best, and its patience counter.
        let told: [(loss: Double, isBest: Bool, without: Int)] = [
            (.nan, false, 1), (2, true, 0), (1.5, true, 0), (1.45, true, 1), (1.46, false, 2), (1.44, true, 3), (1.3, true, 0), (.infinity, false, 1),
        ]
        for (index, entry) in told.enumerated() {
            #expect(best.add(step: index, loss: entry.loss, threshold: 0.1) == entry.isBest, "\(entry)")
            #expect(best.without == entry.without, "\(entry)")
        }
        #expect(best.step == 6 && best.loss == 1.3 && BestEvaluation(json: best.json) == best)
        #expect(BestEvaluation(json: BestEvaluation().json) == BestEvaluation())
    }

    /// The loss on held-out records is lowest at step 60: from there on the simulated device's floor rises.
    private func run(patience: Int = 0, limit: Int = 2) -> SimulatedRun {
        var run = SimulatedRun()
        (run.settings.keepsBest, run.settings.earlyStoppingPatience) = (true, patience)
        (run.settings.evalSteps, run.settings.evalSamples, run.settings.saveTotalLimit) = (15, 4, limit)
        run.prepare = { device in
            device.evaluated = { loss, step in loss + 0.02 * Double(max(0, step - 60)) }
        }
        return run
    }

    @Test func `the best checkpoint is kept beside the others, and its parameters are delivered`() throws {
        let run = run()
        let outcome = try run.train()
        #expect(outcome.result.finished && outcome.result.state.step == 200 && outcome.result.state.best.step == 60)
        #expect(try RealFiles().list(run.directory).sorted() == ["step-000060", "step-000190", "step-000200"])
        // The plain run at step 60.
        var plain = self.run()
        plain.settings.keepsBest = false
        let at60 = try plain.train { $0 >= 60 }
        #expect(outcome.x == at60.x && outcome.result.state.evaluations.map(\.step) == [15, 30, 45, 60, 75, 90, 105, 120, 135, 150, 165, 180, 195, 200])
        // A finished run that is started again delivers the same, and one that was stopped on the way too.
        #expect(try run.train().x == outcome.x)
        let stopped = self.run()
        for stop in [59, 1, 40, 30] { #expect(try !stopped.train { $0 >= stop }.result.finished) }
        let rest = try stopped.train()
        #expect(rest.x == outcome.x && rest.result.state.best == outcome.result.state.best)
        #expect(rest.result.state.evaluations == outcome.result.state.evaluations)
    }

    @Test func `training ends after as many evaluations without a better one as the recipe says`() throws {
        let run = run(patience: 3)
        let outcome = try run.train()
        #expect(outcome.result.finished && outcome.result.state.step == 105 && outcome.result.state.endedAt == 105 && outcome.result.droppedSteps == 0)
        #expect(outcome.events.contains { if case .endedEarly(105, let best) = $0 { best.step == 60 && best.without == 3 } else { false } })
        #expect(try run.train().x == outcome.x)
        // Stopped in the very evaluation that ends it.
        let stopped = self.run(patience: 3)
        #expect(try !stopped.train { $0 >= 105 }.result.finished)
        let rest = try stopped.train()
        #expect(rest.result.finished && rest.steps.isEmpty && rest.result.state.endedAt == 105 && rest.x == outcome.x)
    }

    @Test func `a damaged best checkpoint is named, and the last step's parameters are delivered`() throws {
        let run = run()
        _ = try run.train()
        let path = run.directory + "/step-000060/adapter_model.safetensors"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.count - 1] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
        let outcome = try run.train()
        let warnings = outcome.events.compactMap { if case .warning(let text) = $0 { text } else { nil } }
        #expect(warnings.count == 1 && warnings[0].contains("the best checkpoint, of step 60, is damaged"), "\(warnings)")
        var plain = self.run()
        plain.settings.keepsBest = false
        #expect(try outcome.x == plain.train().x)
    }
}
