import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetReporting
import Synchronization
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

/// The time of a run over one or several sessions.
struct SessionTests {
    /// 1,000 s of training in 100 steps, and 60 s of merging and testing.
    private func plan() -> Plan {
        Plan(
            choices: .init(storage: .nf4, threads: 1, tokensPerBatch: 1, sizes: .init(training: 1, evaluation: 1, headChunk: 1), passes: PassPolicy.nothing),
            trainingMemory: [], testMemory: [], disk: [],
            phases: [.init("training", 900), .init("evaluation", 100), .init("merging", 20), .init("testing", 40)], steps: 100, trainTokens: 1,
            trainableParameters: 1, warnings: [])
    }

    private func time(_ session: Double, elapsed: Double = 0, starting: Double = 0, number: Int = 1, sessions: Int = 1, done: Int = 0) -> SessionTime {
        var time = SessionTime(plan(), done: done, session: session, elapsed: elapsed, starting: starting)
        (time.number, time.sessions) = (number, sessions)
        return time
    }

    @Test func `the sessions that a run needs are counted with the reserve that each keeps`() {
        // 1,000 s of training, 1.2 times 60 s kept, 30 s of margin.
        #expect(time(1102).needed == 1 && time(1101).needed == 2)
        // Two sessions of 566 s: 536 of training in the first and 464 in the last.
        #expect(time(566).needed == 2 && time(565).needed == 3)
        #expect(time(1101, elapsed: 400).needed == 2 && time(1102, done: 50).needed == 1)
        #expect(time(300).needed == 4)
        // A start that takes 100 s of each later session.
        #expect(time(300, elapsed: 100, starting: 100).needed == 7)
        // Merging and testing fit into no session, or nothing is left of one after its start.
        #expect(time(79).needed == nil && time(300, starting: 290).needed == nil)
        #expect(time(600, number: 3, sessions: 4).total == 4 && time(600, number: 3, sessions: 4).isLast == false)
        #expect(time(600, number: 4, sessions: 4, done: 60).trainingEnd == 498 && time(600, number: 3, sessions: 4, done: 60).trainingEnd == 570)
        // The last of the sessions, for which there are too many steps: some are dropped. In one after that, time kept for its test would be lost.
        #expect(time(600, number: 4, sessions: 4).needed == 2 && time(600, number: 4, sessions: 4).trainingEnd == 498)
        #expect(time(600, number: 4, sessions: 4).droppedSteps == 51 && time(1102).droppedSteps == 0)
        #expect(time(600, number: 5, sessions: 4).trainingEnd == 570 && time(600, number: 5, sessions: 4).droppedSteps == 0)
        // Nor in a last one that has no time for a step beside merging and testing.
        #expect(time(110, elapsed: 20, number: 4, sessions: 4).trainingEnd == 99)
        // Ten times a checkpoint is kept at the end of every session, at most a tenth of it.
        var slow = time(566, sessions: 2)
        slow.keepSaving(2)
        #expect(slow.margin == 50 && slow.needed == 3 && slow.laterSeconds == 516)
        // A session that is not the last may leave 9 s of a step, 5 of an evaluation and 2 of a checkpoint unused.
        (slow.session, slow.laterSession) = (300, 300)
        slow.keepSaving(2, evaluation: 5)
        #expect(slow.laterSeconds == 250 && slow.unused == 16 && slow.needed == 5 && slow.parts.map(\.training) == [234, 234, 234, 234, 64])
        slow.sessions = 5
        #expect(slow.excess == -114)
        (slow.session, slow.laterSession) = (566, 566)
        slow.keepSaving(20)
        #expect(slow.margin == 30 + 56.6)
    }

    @Test func `a run over several sessions is planned session by session`() {
        let parts = time(300, elapsed: 100, starting: 100, sessions: 7).parts
        #expect(parts.map(\.session) == Array(1...7) && parts.reduce(0) { $0 + $1.steps } == 100)
        #expect(
            abs(parts.reduce(0) { $0 + $1.training } - 1000) < 1e-9 && parts.prefix(5).allSatisfy { $0.seconds == 270 && $0.steps == 17 && $0.finishing == 0 })
        // The last one: what is left, and merging and testing as they are expected.
        #expect(abs((parts.last?.finishing ?? 0) - 60) < 1e-9)
        #expect(
            time(300, elapsed: 100, starting: 100).partLines().first?.contains("17 steps in 2 min 50 s, ends after 4 min 30 s with everything saved") == true)
        #expect(time(1102).parts.count == 1 && time(79).parts.isEmpty)
    }

    @Test func `too little time is exit 3 with the number of sessions that is enough`() throws {
        #expect(try time(1102).check(goesOn: false) == nil && time(566, sessions: 2).check(goesOn: false) == nil)
        func refusal(_ time: SessionTime, goesOn: Bool = false) -> LorikeetError? {
            do {
                _ = try time.check(goesOn: goesOn)
                return nil
            } catch { return error }
        }
        for (time, words) in [
            (time(565), "--sessions 3"), (time(565, sessions: 2), "--sessions 3"), (time(79), "test fewer records (max_validation_samples"),
            (time(565, elapsed: 563, sessions: 4), "new session"), (time(28), "test fewer records"),
        ] {
            let error = refusal(time)
            #expect(error?.exit == .doesNotFit && error?.fix?.contains(words) == true, "\(String(describing: error))")
        }
        // A run that has begun goes on with what time there is, unless nothing can be done in it.
        let after = try time(565, number: 2, done: 1).check(goesOn: true)
        #expect(after?.contains("it ends with everything saved (exit 75), and the same command goes on; name --sessions 3") == true)
        // The last session drops what it has no time for.
        let last = try time(565, done: 1).check(goesOn: true)
        #expect(last?.contains("about 53 of 99 steps are dropped, so that it ends merged and tested; name --sessions 2") == true)
        #expect(refusal(time(565, elapsed: 530, done: 1), goesOn: true)?.exit == .doesNotFit)
        #expect(refusal(time(565, elapsed: 500, done: 100), goesOn: true)?.fix == "start it in a new session")
        #expect(try time(565, elapsed: 400, done: 100).check(goesOn: true) == nil)
    }

    @Test func `each session but the last ends in time with everything saved, and the next has the same bits`() throws {
        var run = try TinyRun()
        run.options["num-train-epochs"] = "20"
        #expect(try run.run(on: nil).error == nil)
        let undisturbed = try run.adapter()
        run.output += "-sessions"
        (run.options["session"], run.options["sessions"]) = ("100s", "3")
        func session(_ identity: String, _ clock: JumpingClock) -> (inout PipelineEnvironment) -> Void {
            {
                $0.clock = clock
                $0.sinks.append(clock)
                $0.session = SessionStart(started: clock.uptime, identity: identity)
            }
        }
        let first = try run.run(on: nil, change: session("a", JumpingClock(after: 5, seconds: 95)))
        #expect(first.error?.description.contains("stopped at step 5") == true && first.count(.checkpoint) > 0, "\(String(describing: first.error))")
        #expect(first.texts.contains { $0.hasPrefix("this is session 1 of 3") }, "\(first.texts)")
        #expect(try run.json("sessions.json")["sessions"]?.array?.count == 1 && run.json("plan.json")["sessions_needed"]?.int == 1)
        // The same container goes on in the same session, of which nothing is left for a step.
        let same = try run.run(on: nil, change: { $0.session = SessionStart(started: $0.clock.uptime - 95, identity: "a") })
        #expect(same.error?.exit == .doesNotFit && same.error?.fix == "start it in a new session", "\(String(describing: same.error))")
        // The record goes with the run to another directory.
        let earlier = run.output
        run.output += "-next"
        run.options["resume-from"] = earlier
        let second = try run.run(on: nil, change: session("b", JumpingClock(after: .max, seconds: 0)))
        #expect(second.error == nil && second.texts.contains { $0.hasPrefix("this is session 2 of 3") }, "\(String(describing: second.error))")
        #expect(try run.json("sessions.json")["sessions"]?.array?.compactMap { $0["identity"]?.string } == ["a", "b"])
        #expect(try run.adapter() == undisturbed && first.count(.step) + second.count(.step) == 120)
    }

    @Test func `a session is known by its container, and without one every process is a session`() {
        var record = SessionRecord()
        #expect(record.number(of: "a") == 1 && record.number(of: nil) == 1)
        record.add(.init(identity: "a", began: 1))
        record.add(.init(identity: "a", began: 1))
        record.add(.init(identity: nil, began: 2))
        record.add(.init(identity: nil, began: 3))
        #expect(record.entries.count == 3 && record.number(of: "a") == 1 && record.number(of: "b") == 4 && record.number(of: nil) == 4)
        #expect(SessionRecord(json: record.json) == record && SessionRecord(json: ["sessions": 5]) == SessionRecord())
    }

    // MARK: notebooks

    @Test func `notebook services are recognised by their variables`() {
        func service(_ variables: [String: String]) -> NotebookService? { NotebookService { variables[$0] } }
        #expect(service([:]) == nil)
        let (batch, interactive) = (service(["KAGGLE_KERNEL_RUN_TYPE": "Batch"]), service(["KAGGLE_KERNEL_RUN_TYPE": "Interactive"]))
        #expect(batch?.name == .kaggle && batch?.isBatch == true && interactive?.isBatch == false && batch?.scratchFolder == "/tmp/lorikeet")
        #expect(batch?.quotas == [FolderQuota(path: "/kaggle/working", bytes: 20_000_000_000)] && batch?.longestSession == 43_200)
        #expect(batch?.goingOn.contains("resume_from auto") == true && batch?.goingOn != interactive?.goingOn)
        let colab = service(["COLAB_RELEASE_TAG": "release-colab"])
        #expect(colab?.name == .colab && colab?.quotas.isEmpty == true && colab?.scratchFolder == nil)
    }

    @Test func `a container that is older than a session can be does not count`() throws {
        let service = try #require(NotebookService { $0 == "KAGGLE_KERNEL_RUN_TYPE" ? "Batch" : nil })
        func clock(_ uptime: String) -> ContainerClock? {
            let fields = (4...52).map { $0 == 22 ? "500" : "0" }.joined(separator: " ")
            return ContainerClock(status: "1 (tini) x) S \(fields)\n", uptime: uptime, boot: "abc\n", ticksPerSecond: 100)
        }
        #expect(clock("3605.00 1.00").map { ($0.age, $0.identity) } ?? (0, "") == (3600, "abc-500"))
        #expect(clock("4.00 1.00") == nil && clock("") == nil && ContainerClock(status: "", uptime: "1", boot: "") == nil)
        #expect(service.session(clock("3605.00 1.00"))?.age == 3600 && service.session(clock("90000 1")) == nil && service.session(nil) == nil)
        // Process 1 of this machine has begun before now.
        #expect(try #require(ContainerClock.current).age > 0)
    }
}

/// The real clock, which jumps ahead once after a number of training steps.
private final class JumpingClock: Clock, EventSink {
    private let steps = Mutex(0)
    private let after: Int
    private let seconds: Double

    init(after: Int, seconds: Double) { (self.after, self.seconds) = (after, seconds) }

    private var ahead: Double { steps.withLock { $0 } >= after ? seconds : 0 }
    var now: Double { SystemClock().now + ahead }
    var uptime: Double { SystemClock().uptime + ahead }
    func receive(_ event: Event) { if event.kind == .step { steps.withLock { $0 += 1 } } }
}
