import Foundation
import LorikeetGround
import SimulatedTraining
import Testing

@testable import LorikeetTraining

/// Numbers from 0 up to 1, the same for the same seed (xorshift).
private struct RandomNumbers {
    private var state: UInt64

    init(seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> Double {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Double(state >> 11) / Double(1 << 53)
    }
}

/// The schedule that is planned anew where the time is not as predicted (docs/decisions/0019-schedule-planned-anew.md).
struct PacingTests {
    // MARK: the course of the steps

    @Test func `a course that is planned anew goes on where it is and ends where the plan would have`() {
        var course = StepCourse(planned: 100)
        #expect((0..<100).allSatisfy { course.position(ofStep: $0) == Double($0) } && course.total == 100)
        course.change(at: 40, total: 70)
        #expect(course.total == 70 && course.position(ofStep: 39) == 39 && course.position(ofStep: 40) == 40 && course.position(ofStep: 69) == 99)
        #expect(abs(course.position(ofStep: 41) - (40 + 59.0 / 29)) < 1e-12)
        let at60 = course.position(ofStep: 60)
        course.change(at: 60, total: 90)
        #expect(course.position(ofStep: 60) == at60 && course.position(ofStep: 89) == 99 && course.position(ofStep: 50) < at60)
        // One step left takes the last place; a change before others replaces them.
        course.change(at: 60, total: 61)
        #expect(course.position(ofStep: 60) == 99 && course.changes.count == 2)
        course.change(at: 10, total: 20)
        #expect(course.changes == [.init(step: 10, total: 20)] && course.position(ofStep: 19) == 99)
    }

    @Test(arguments: ScheduleKind.allCases) func `every schedule ends at its own last rate`(kind: ScheduleKind) {
        var settings = TrainingSettings()
        (settings.schedule, settings.warmupSteps, settings.learningRate) = (kind, 20, 0.1)
        let planned = StepCourse(planned: 100)
        for (at, total) in [(5, 60), (30, 50), (90, 95), (98, 99)] {
            var course = planned
            course.change(at: at, total: total)
            func rate(_ step: Int, _ course: StepCourse) -> Double { settings.learningRate(atStep: step, of: course) }
            #expect(rate(total - 1, course) == rate(99, planned))
            #expect((0..<at).allSatisfy { rate($0, course) == rate($0, planned) })
            #expect((at..<total).allSatisfy { (0...0.1).contains(rate($0, course)) })
        }
    }

    // MARK: decisions

    private func time(_ end: Double, finishing: Double? = 100, step: Double = 1) -> TrainingTime { TrainingTime(end: end, finishing: finishing, step: step) }

    @Test func `steps are dropped where they do not fit, and come back where they do`() {
        var settings = TrainingSettings()
        (settings.saveSteps, settings.evalSteps) = (0, 0)
        // 200 steps of a second and 120 s kept: 330 are enough.
        var calm = Pacing(time(330), settings)
        for step in 0..<200 {
            #expect(calm.decide(done: step, of: 200, most: 200, now: Double(step)) == .goOn)
            calm.addStep(seconds: 1)
        }
        // Twice as slow from the start: what follows is expected to take twice as long, too.
        var slow = Pacing(time(330), settings)
        var (now, total, done) = (0.0, 200, 0)
        while done < total {
            if case .plan(let new) = slow.decide(done: done, of: total, most: 200, now: now) { total = new }
            slow.addStep(seconds: 2)
            (now, done) = (now + 2, done + 1)
        }
        #expect(total < 60 && total > 30 && now <= 330 - 200, "\(total) steps, \(now) s")
        // Slow at first, then as planned.
        var changing = Pacing(time(330), settings)
        var most = 0
        (now, total, done) = (0.0, 200, 0)
        while done < total {
            if case .plan(let new) = changing.decide(done: done, of: total, most: 200, now: now) { total = new }
            let seconds = done < 20 ? 2.0 : 1
            changing.addStep(seconds: seconds)
            (now, done, most) = (now + seconds, done + 1, max(most, total))
        }
        #expect(total > 150 && total < 200 && now <= 330 - 100 && most == 200, "\(total) steps, \(now) s")
    }

    @Test func `steps that also compile or record drop none, and a lasting change of the pace is seen`() {
        var settings = TrainingSettings()
        (settings.saveSteps, settings.evalSteps) = (0, 0)
        // 2,500 steps of 6 ms in 34 s, 8 s of them for what follows.
        func train(_ seconds: (Int) -> Double) -> (total: Int, end: Double) {
            var time = TrainingTime(end: 30.6, finishing: 8, step: 0.006)
            time.longestPause = 3.4
            var pacing = Pacing(time, settings)
            var (now, total, done) = (0.0, 2500, 0)
            while done < total {
                if case .plan(let new) = pacing.decide(done: done, of: total, most: 2500, now: now) { total = new }
                pacing.addStep(seconds: seconds(done))
                (now, done) = (now + seconds(done), done + 1)
            }
            return (total, now)
        }
        #expect(train { $0 == 0 ? 1 : $0 < 300 && $0 % 15 == 0 ? 0.06 : 0.006 }.total == 2500)
        let slowed = train { $0 < 1000 ? 0.006 : 0.0102 }
        #expect(slowed.total < 1900 && slowed.total > 1600 && slowed.end <= 30.6 - 1.7 * 8, "\(slowed)")
    }

    @Test func `a pace that is uneven changes the schedule a few times, not at every turn`() {
        var settings = TrainingSettings()
        (settings.saveSteps, settings.evalSteps) = (0, 0)
        var time = TrainingTime(end: 30.6, finishing: 8, step: 0.006)
        time.longestPause = 3.4
        var most = 0
        for seed in 1...40 {
            var random = RandomNumbers(seed: seed)
            // 1.7 times as slow from step 800 on, each step by up to a half more or less, and all of them drifting by up to a third.
            var pacing = Pacing(time, settings)
            var (now, total, done, changes, drift) = (0.0, 2500, 0, 0, 1.0)
            while done < total {
                if case .plan(let new) = pacing.decide(done: done, of: total, most: 2500, now: now) { (total, changes) = (new, changes + 1) }
                drift = min(1.33, max(0.75, drift + 0.04 * (random.next() - 0.5)))
                let seconds = 0.006 * (done < 800 ? 1 : 1.7) * drift * (0.5 + random.next()) * (random.next() < 0.02 ? 6 : 1)
                pacing.addStep(seconds: seconds)
                (now, done) = (now + seconds, done + 1)
            }
            most = max(most, changes)
            #expect(now <= 30.6 - 8 * 1.7 && total > 900 && total < 2500, "seed \(seed): \(total) steps, \(now) s")
        }
        #expect(most >= 1 && most <= 14, "\(most) changes")
    }

    @Test func `a shortage of less than a quarter of the added fifth is no change`() {
        var settings = TrainingSettings()
        (settings.saveSteps, settings.evalSteps, settings.saveMinutes) = (0, 0, 0)
        // 120 s are kept, 20 of them added, and 100 steps of a second are to be done.
        func change(end: Double) -> Pacing.Decision? {
            var pacing = Pacing(time(end), settings)
            for step in 0..<100 {
                let decision = pacing.decide(done: step, of: 100, most: 100, now: Double(step))
                if decision != .goOn { return decision }
                pacing.addStep(seconds: 1)
            }
            return nil
        }
        #expect(change(end: 220) == nil && change(end: 215.5) == nil)
        // Once the pace has been measured for a twentieth of the steps.
        #expect(change(end: 214.5) == .plan(total: 4 + Int(0.96 * 90.5)))
    }

    @Test func `without the time for another step training stops, and a last one may use the reserve`() {
        let settings = TrainingSettings()
        var pacing = Pacing(time(200), settings)
        for _ in 0..<3 { pacing.addStep(seconds: 1) }
        // 100 s are needed, 120 kept.
        #expect(pacing.decide(done: 50, of: 60, most: 60, now: 85) == .plan(total: 51))
        #expect(pacing.decide(done: 59, of: 60, most: 60, now: 85) == .goOn)
        #expect(pacing.decide(done: 50, of: 60, most: 60, now: 99.5) == .stop)
        // A session that is not to finish stops before a step would be cut off.
        var first = Pacing(time(200, finishing: nil), settings)
        #expect(first.decide(done: 50, of: 60, most: 60, now: 100) == .goOn && first.decide(done: 51, of: 60, most: 60, now: 140) == .goOn)
        #expect(first.decide(done: 52, of: 60, most: 60, now: 161) == .stop)
    }

    // MARK: a training

    /// 200 steps that are planned to take a second each, 100 s for what follows.
    private func slowed(_ seconds: @escaping (Int) -> Double) -> SimulatedRun {
        var run = SimulatedRun()
        (run.settings.evalSteps, run.settings.evalSamples) = (20, 4)
        run.prepare = {
            $0.secondsOfStep = seconds
            ($0.secondsOfEvaluation, $0.secondsOfCheckpoint) = (2, 0.5)
        }
        run.time = { TrainingTime(end: $0 + 400, finishing: 100, step: 1, evaluation: 2, checkpoint: 0.5) }
        return run
    }

    @Test func `training that runs slower than planned ends in time at its last rate, with the steps dropped and told`() throws {
        let calm = try slowed { _ in 1 }.train()
        #expect(calm.plans.isEmpty && calm.result.totalSteps == 200)
        let outcome = try slowed { $0 < 60 ? 1 : 2.2 }.train()
        #expect(outcome.result.finished && outcome.result.plannedSteps == 200 && outcome.result.totalSteps < 150 && !outcome.plans.isEmpty)
        #expect(outcome.end <= 1400 - 100 * 2.2 && outcome.steps.last?.learningRate == calm.steps.last?.learningRate)
        #expect(outcome.steps.last?.of == outcome.steps.count && outcome.result.state.changes.last?.total == outcome.result.totalSteps)
        // Without a limit nothing is dropped, however slow it is.
        var free = slowed { _ in 50 }
        free.time = { _ in nil }
        #expect(try free.train().steps.count == 200)
    }

    @Test func `a checkpoint holds the change before it takes effect: the same process and another one end with the same bits`() throws {
        let slow = slowed { $0 < 60 ? 1 : 2.2 }
        let outcome = try slow.train()
        let change = try #require(outcome.plans.first)
        // Killed in the step after the change: the next process knows it, and without a limit makes no other.
        var cut = slowed { $0 < 60 ? 1 : 2.2 }
        #expect(try !cut.train { $0 > change.step }.result.finished)
        cut.time = { _ in nil }
        cut.settings.saveSteps = 0
        let rest = try cut.train()
        #expect(rest.result.finished && rest.result.state.changes == [change] && rest.result.totalSteps == change.total)
        // An undisturbed run with this one change.
        var again = slowed { _ in 1 }
        again.time = { _ in nil }
        #expect(try !again.train { $0 >= change.step }.result.finished)
        let set = try SimulatedRun.trained()
        var state = try #require(try again.checkpoints.loadNewest(into: set) { _ in })
        state.changes = [change]
        try again.checkpoints.save(set, state)
        #expect(try again.train().x == rest.x)
    }

    @Test func `whatever the speed does, training ends before its time with its last rate, or is stopped with everything saved`() throws {
        var (finished, dropped) = (0, 0)
        for seed in 0..<60 {
            var random = RandomNumbers(seed: seed)
            // The speed changes to 0.3 to 2 times the planned one at random steps.
            var (speed, speeds) = (1.0, [Double]())
            for _ in 0..<400 {
                if random.next() < 0.03 { speed = 0.3 + 1.7 * random.next() }
                speeds.append(speed)
            }
            let run = slowed { 1 / speeds[$0] }
            let outcome = try run.train()
            // What follows takes 100 s at the present speed; the end is at 1,400.
            guard outcome.result.finished else {
                #expect(try run.checkpoints.newestWhole()?.step == outcome.result.state.step && outcome.result.state.step > 0)
                continue
            }
            finished += 1
            if outcome.result.totalSteps < 200 { dropped += 1 }
            #expect(outcome.end <= 1400 - 100, "seed \(seed): \(outcome.end)")
            #expect(outcome.steps.last.map { abs($0.learningRate - 0.05 / 200) < 1e-12 } == true, "seed \(seed)")
        }
        #expect(finished >= 55 && dropped >= 20, "\(finished) finished, \(dropped) with fewer steps")
    }

    @Test func `a step is dropped where a stop is asked for in it, and an evaluation is made up for`() throws {
        let whole = try slowed { _ in 1 }.train()
        // Asked for while step 20 is reported: its evaluation is interrupted.
        let run = slowed { _ in 1 }
        let first = try run.train { $0 >= 20 }
        #expect(!first.result.finished && first.result.state.step == 20 && first.result.state.evaluations.isEmpty)
        let rest = try run.train()
        #expect(rest.x == whole.x && rest.result.state.evaluations == whole.result.state.evaluations && rest.steps.first?.step == 21)
    }
}
