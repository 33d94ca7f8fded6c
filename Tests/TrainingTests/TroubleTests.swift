import Foundation
import LorikeetEngine
import LorikeetGround
import SimulatedTraining
import Testing

@testable import LorikeetTraining

/// What training does about steps that go wrong (docs/decisions/0018-trouble-in-training.md).
struct TroubleTests {
    // MARK: the rules, without a device

    @Test func `a step that was not finite is repeated by the loss scale first, then once as it is, then left`() {
        func answer(_ finite: Bool, _ scale: Float, _ repeated: Bool) -> SkippedStep { SkippedStep(lossIsFinite: finite, scale: scale, repeated: repeated) }
        #expect(answer(true, 4, false) == .halveScale && answer(true, 2, true) == .halveScale)
        #expect(answer(true, 1, false) == .repeatOnce && answer(false, 65536, false) == .repeatOnce)
        #expect(answer(true, 1, true) == .leave && answer(false, 65536, true) == .leave)
    }

    @Test func `a loss is high by the median and the spread of the last ones, and eight in a row are a divergence`() {
        var watch = LossWatch()
        for step in 0..<LossWatch.length { #expect(watch.add(step == 20 ? 50 : 2 + 0.1 * Double(step % 3)) == .usual) }
        #expect(watch.limit.map { abs($0 - 3.1) < 1e-9 } == true, "\(String(describing: watch.limit))")
        #expect(watch.add(3.09) == .usual && watch.add(.nan) == .usual && watch.high == 0)
        for _ in 1..<LossWatch.patience { #expect(watch.add(9).isHigh) }
        // One that is not high ends the row, and high ones never move the limit.
        #expect(watch.add(2.1) == .usual && watch.high == 0 && (watch.limit ?? 0) < 3.3)
        for _ in 1..<LossWatch.patience { #expect(watch.add(9).isHigh) }
        guard case .diverged = watch.add(9) else { return #expect(Bool(false), "eight in a row") }
        // Where losses differ by much anyway, a high one has to be higher still.
        var wide = LossWatch()
        for step in 0..<LossWatch.length { _ = wide.add(step % 2 == 0 ? 1 : 3) }
        #expect(wide.limit == 12)
    }

    @Test func `the watch is kept as it is`() throws {
        var watch = LossWatch()
        for step in 0..<40 { _ = watch.add(1 / Double(3 + step)) }
        for _ in 0..<3 { _ = watch.add(7) }
        #expect(watch.high == 3 && LossWatch(json: watch.json) == watch)
        var record = TroubleRecord()
        (record.overflows, record.repeated, record.spikes, record.rewinds) = (1, 2, 3, 1)
        (record.excludedSteps, record.rateChanges) = ([2..<12], [.init(step: 7, factor: 0.5), .init(step: 30, factor: 0.5)])
        var state = TrainerState()
        (state.step, state.trouble, state.watch, state.changes) = (50, record, watch, [.init(step: 40, total: 90)])
        #expect(TrainerState(json: state.json) == state)
        #expect(record.rateFactor(atStep: 6) == 1 && record.rateFactor(atStep: 7) == 0.5 && record.rateFactor(atStep: 30) == 0.25)
    }

    // MARK: faults of the machine

    @Test(arguments: SimulatedDevice.Fault.allCases) func `a fault that does not come again costs one repetition and no bit`(fault: SimulatedDevice.Fault)
        throws
    {
        let calm = try SimulatedRun().train()
        var run = SimulatedRun()
        run.prepare = { $0.fault = { _, count in [3, 57, 120].contains(count) ? fault : nil } }
        let outcome = try run.train()
        #expect(outcome.result.finished && outcome.x == calm.x && calm.x != 0 && outcome.result.state.lossSum == calm.result.state.lossSum)
        #expect(outcome.troubles.map(\.step) == [4, 57, 119] && outcome.result.state.trouble.repeated == 3, "\(outcome.troubles)")
        #expect(outcome.troubles.allSatisfy { $0.kind == .notFinite && $0.action == .repeated })
    }

    /// Steps whose records are faulty, however often they come.
    private func faulty(_ steps: Set<Int>, settings: (inout TrainingSettings) -> Void = { _ in }) throws -> SimulatedRun {
        var run = SimulatedRun()
        settings(&run.settings)
        let sampler = StepSampler(settings: run.settings, count: run.samples)
        let records = Set(steps.map { Set(sampler.samples(ofStep: $0 - 1).indices) })
        run.prepare = { device in
            device.fault = { batch, _ in
                let own = Set(stride(from: 0, to: batch.ids.count, by: 4).map { Int(batch.ids[$0 + 1]) - 3 + 150 * (Int(batch.ids[$0 + 2]) - 3) })
                return records.contains(own) ? .lossAndGradient : nil
            }
        }
        return run
    }

    @Test func `a step that fails again changes nothing and is counted`() throws {
        let outcome = try faulty([31, 77]).train()
        #expect(outcome.result.finished && outcome.result.state.skipped == 2 && outcome.result.state.trouble.repeated == 2)
        #expect(outcome.troubles.map(\.action) == [.repeated, .skipped, .repeated, .skipped] && outcome.troubles.map(\.step) == [31, 31, 77, 77])
        #expect(outcome.result.trainLoss.isFinite && outcome.result.state.stepsWithoutLoss == 2)
    }

    @Test func `ten steps in a row are left out with their records, with the same bits from any checkpoint`() throws {
        let bad = Set(64...73)
        let outcomes = try [3, 10, 50, 0].map { saveSteps in try faulty(bad) { $0.saveSteps = saveSteps }.train() }
        for outcome in outcomes {
            #expect(outcome.result.finished && outcome.result.state.trouble.excludedSteps == [63..<73] && outcome.result.state.trouble.rewinds == 1)
            #expect(outcome.x == outcomes[0].x && outcome.result.state.lossSum == outcomes[0].result.state.lossSum)
        }
        // From the last checkpoint before them, or from the beginning where there is none.
        #expect(outcomes.map { $0.troubles.compactMap(\.toStep) } == [[63], [60], [50], [0]])
        var alone = try faulty(bad) { $0.saveSteps = 0 }
        alone.canRestart = false
        let last = alone
        let error = #expect(throws: LorikeetError.self) { try last.train() }
        #expect(error?.exit == .checkFailed && error?.description.contains("there is no checkpoint to go back to") == true)
    }

    // MARK: a rate that is too high

    /// The rate rises over so many steps to `highest`; above 2 the simulated model diverges.
    private func steep(_ highest: Double, warmup: Int = 160, saveSteps: Int = 10, limit: Int = 0) -> SimulatedRun {
        var run = SimulatedRun()
        (run.settings.learningRate, run.settings.warmupSteps, run.settings.schedule) = (highest, warmup, .constantWithWarmup)
        (run.settings.saveSteps, run.settings.saveTotalLimit) = (saveSteps, limit)
        return run
    }

    @Test func `a loss that stays high goes back, halves the rate, and training ends well`() throws {
        let outcome = try steep(3.5).train()
        let rewound = try #require(outcome.troubles.first { $0.action == .rewound })
        #expect(outcome.result.finished && rewound.kind == .divergence && rewound.rateFactor == 0.5, "\(outcome.troubles)")
        let change = try #require(outcome.result.state.trouble.rateChanges.first)
        #expect(change.step == rewound.step - LossWatch.patience - LossWatch.length && change.factor == 0.5)
        #expect(rewound.toStep.map { $0 <= change.step && $0 % 10 == 0 } == true)
        // Half the rate stays below 2: the model is as good as it can be.
        #expect(abs(outcome.x - 1) < 0.3 && outcome.result.state.trouble.rewinds == 1)
        #expect(outcome.troubles.contains { $0.kind == .spike && $0.action == .kept && ($0.loss ?? 0) > 2 })
    }

    @Test func `the checkpoint that is gone back to does not change a bit, and neither do stops at any step`() throws {
        let whole = try steep(3.5).train()
        for (saveSteps, limit) in [(1, 1), (7, 2), (64, 1), (0, 0)] {
            let other = try steep(3.5, saveSteps: saveSteps, limit: limit).train()
            #expect(other.x == whole.x && other.result.state.lossSum == whole.result.state.lossSum, "every \(saveSteps)")
            #expect(other.result.state.trouble == whole.result.state.trouble)
        }
        // Stopped in the middle of high losses, after the rewind, and again and again.
        let from = try #require(whole.troubles.first { $0.action == .rewound }).step
        for stop in [from - 3, from - 1, from, from + 1, from + 20] {
            let run = steep(3.5)
            #expect(try !run.train { $0 >= stop }.result.finished)
            let rest = try run.train()
            #expect(rest.result.finished && rest.x == whole.x && rest.result.state.trouble == whole.result.state.trouble, "stopped after \(stop) steps")
        }
        let often = steep(3.5)
        var outcome = try often.train { $0 >= 13 }
        while !outcome.result.finished { outcome = try often.train { $0 >= 13 } }
        #expect(outcome.x == whole.x && outcome.result.state.trouble == whole.result.state.trouble)
    }

    @Test func `after three times back training ends with exit 1, the cause and a good checkpoint, and so it does again`() throws {
        var run = steep(20, warmup: 400)
        run.settings.numTrainEpochs = 2
        let failing = run
        let error = #expect(throws: LorikeetError.self) { try failing.train() }
        #expect(error?.exit == .checkFailed && error?.description.contains("training has gone back 3 times and the last checkpoint is kept") == true)
        #expect(error?.description.contains("the loss of 8 steps in a row") == true && error?.fix?.contains("lower learning_rate") == true)
        let set = try SimulatedRun.trained()
        let kept = try #require(try run.checkpoints.loadNewest(into: set) { Issue.record("\($0)") })
        #expect(kept.trouble.rewinds == 3 && kept.isSound && set.floats(.values).allSatisfy { abs($0) < 10 })
        let again = #expect(throws: LorikeetError.self) { try failing.train() }
        #expect(again?.description == error?.description)
    }

    @Test func `records in their own order may become others: a loss that stays high is told of and no more`() throws {
        var run = SimulatedRun()
        run.settings.shuffle = false
        run.prepare = { $0.added = { Double($0.ids[2]) > 3 ? 5 : 0.01 * Double($0.ids[1] % 7) } }
        let outcome = try run.train()
        #expect(outcome.result.finished && outcome.result.state.trouble.rewinds == 0)
        let warnings = outcome.events.compactMap { if case .warning(let text) = $0 { text } else { nil } }
        #expect(warnings.count == 1 && warnings[0].contains("since the records are not shuffled"), "\(warnings)")
    }
}

extension LossWatch.Finding {
    fileprivate var isHigh: Bool { if case .high = self { true } else { false } }
}
