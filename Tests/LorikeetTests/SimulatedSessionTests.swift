import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetReporting
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

/// Whole runs in sessions on a machine that is faster and slower than planned (`SimulatedMachine`): every session ends before its deadline, merged and tested
/// with the learning rate at its end value; or, where it was asked to stop, is not the last, or became slow after the reserve had begun, with everything saved.
///
/// `LORIKEET_SESSIONS=200 swift test --filter SimulatedSessionTests` prints the table of docs/promises.md.
struct SimulatedSessionTests {
    enum Kind: String, CaseIterable, Sendable {
        case speed = "speed changes"
        case disk = "slow disks"
        case signal = "late signals"
        case jump = "the clock jumps"
        case start = "slow starts"
        case several = "several sessions"
        case everything = "all of these"

        var startsSlowly: Bool { self == .start || self == .everything }
    }

    /// Sessions in all; `make prove` has 200.
    private static let count = ProcessInfo.processInfo.environment["LORIKEET_SESSIONS"].flatMap { Int($0) } ?? 12

    /// 102 steps of a tiny model, which the machine takes hours for.
    static func tiny() throws -> TinyRun {
        var run = try TinyRun()
        run.threads = 1
        let options = [
            "num-train-epochs": "17", "save-steps": "10", "save-minutes": "0", "eval-steps": "20", "eval-samples": "3", "save-total-limit": "3",
        ]
        run.options.merge(options) { $1 }
        return run
    }

    // MARK: the calm machine

    /// What the run takes on a machine that is as planned.
    struct Calm: Sendable {
        var work = SimulatedMachine.Work()
        var phases: [Plan.Phase] = []
        var steps = 0
        var lastRate = 0.0

        func seconds(_ names: String...) -> Double { phases.reduce(0) { names.contains($1.name) ? $0 + $1.seconds : $0 } }
        var beginning: Double { phases.prefix { $0.name != "training" }.reduce(0) { $0 + $1.seconds } }

        /// A plan with these phases and steps.
        var plan: Plan {
            Plan(
                choices: .init(
                    storage: .nf4, threads: 1, tokensPerBatch: 1, sizes: .init(training: 1, evaluation: 1, headChunk: 1), passes: PassPolicy.nothing),
                trainingMemory: [], testMemory: [], disk: [], phases: phases, steps: steps, trainTokens: 1, trainableParameters: 1, warnings: [])
        }

        /// The time of a run with this plan.
        func time(_ session: Double, age: Double = 0, sessions: Int = 1) -> SessionTime {
            let plan = plan
            let starting = beginning - plan.loadingSeconds
            var time = SessionTime(plan, session: session, elapsed: age + starting, starting: starting)
            time.sessions = sessions
            time.keepSaving(plan.checkpointSeconds(saveSteps: 10), evaluation: plan.evaluationSeconds(evalSteps: 20))
            return time
        }

        /// The shortest session, in whole seconds, of which so many are enough.
        func shortest(sessions: Int = 1, age: Double = 0) -> Double {
            var (low, high) = (0, 200_000)
            while high - low > 1 {
                let middle = (low + high) / 2
                if (time(Double(middle), age: age, sessions: sessions).needed ?? .max) <= sessions { high = middle } else { low = middle }
            }
            return Double(high)
        }
    }

    static let calm = Result { () throws -> Calm in
        func run(_ work: SimulatedMachine.Work) throws -> (machine: SimulatedMachine, outcome: TinyRun.Outcome) {
            let run = try tiny()
            defer { try? FileManager.default.removeItem(atPath: run.folder) }
            let machine = SimulatedMachine(work)
            let outcome = try run.run(on: nil, files: SimulatedDisk(machine: machine)) { machine.drive(&$0) }
            if let error = outcome.error { throw error }
            return (machine, outcome)
        }
        var calm = Calm()
        calm.work.beginning = [
            "environment": 5, "data": 10, "formatting": 60, "checks": 5, "planning": 20, "model loading": 120, "report": 10,
        ]
        // Five and a half hours of training, eleven checkpoints of 20 s, 5 minutes of merging and 20 of testing.
        let free = try run(SimulatedMachine.Work()).machine
        let counts = free.counts
        for (step, seconds) in ["training": 20_000.0, "testing": 1200] {
            calm.work.question[step] = seconds / Double(max(1, counts[step]?.questions ?? 0))
        }
        let checkpoint = free.checkpoints.map(\.bytes).reduce(0, +) / max(1, free.checkpoints.count)
        calm.work.byte = ["training": 20 / Double(max(1, checkpoint)), "merging": 300 / Double(max(1, counts["merging"]?.bytes ?? 0))]
        let (machine, outcome) = try run(calm.work)
        func sum(_ kind: Event.Kind, _ name: String? = nil) -> Double {
            outcome.events.filter { $0.kind == kind && (name == nil || $0.fields["name"]?.string == name) }
                .reduce(0) { $0 + ($1.fields["seconds"]?.double ?? 0) }
        }
        let (evaluation, checkpoints) = (sum(.evaluation), machine.checkpoints.reduce(0) { $0 + $1.seconds })
        calm.phases = ["environment", "data", "formatting", "checks", "planning", "model loading"].map { .init($0, calm.work.beginning[$0] ?? 0) }
        calm.phases += [
            .init("training", sum(.phaseEnd, "training") - evaluation - checkpoints), .init("evaluation", evaluation), .init("checkpoints", checkpoints),
            .init("merging", sum(.phaseEnd, "merging")), .init("testing", sum(.phaseEnd, "testing")), .init("report", 10),
        ]
        let last = outcome.events.last { $0.kind == .step }
        calm.steps = last?.fields["step"]?.int ?? 0
        calm.lastRate = last?.fields["learning_rate"]?.double ?? 0
        return calm
    }

    // MARK: scenes

    /// Numbers that repeat.
    private struct Numbers {
        var state: UInt64

        /// Between two numbers.
        mutating func next(_ low: Double, _ high: Double) -> Double {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            z ^= z >> 31
            return low + (high - low) * Double(z >> 11) / Double(1 << 53)
        }

        /// A speed that changes so many times, some of them before `began`.
        mutating func speed(_ range: ClosedRange<Double>, changes: Int, from began: Double, for seconds: Double) -> SimulatedMachine.Speed {
            let times = (0..<changes).map { _ in began + next(-0.2, 1) * seconds }.sorted()
            return .init(changes: times.map { ($0, next(range.lowerBound, range.upperBound)) })
        }
    }

    /// What happens in the sessions of one run.
    private struct Scene {
        let kind: Kind
        let seed: Int
        var numbers: Numbers
        /// Seconds of each session, those that were over when its process began, and how many sessions there are.
        var session: Double
        var age: Double
        var sessions: Int

        init(_ kind: Kind, seed: Int, _ calm: Calm) {
            (self.kind, self.seed) = (kind, seed)
            numbers = Numbers(state: UInt64(seed) &* 0xD134_2543_DE82_EF95 ^ kind.rawValue.utf8.reduce(0) { $0 &* 31 &+ UInt64($1) })
            sessions = kind == .several ? 2 + Int(numbers.next(0, 3)) : kind == .everything ? 1 + Int(numbers.next(0, 3)) : 1
            age = sessions > 1 || kind == .jump ? 0 : max(0, numbers.next(-600, 600))
            // Nothing is refused because what comes before planning is slow.
            session = (calm.shortest(sessions: sessions, age: age) * numbers.next(1, 1.4)).rounded(.up) + (kind.startsSlowly ? 1200 : 300)
        }

        mutating func machine(_ calm: Calm, began: Double) -> SimulatedMachine {
            let computing = numbers.speed(0.3...2, changes: 1 + Int(numbers.next(0, 6)), from: began, for: session)
            let disk = kind == .disk || kind == .everything ? numbers.speed(0.1...1, changes: 1 + Int(numbers.next(0, 4)), from: began, for: session) : .init()
            var work = calm.work
            if kind.startsSlowly {
                let factor = numbers.next(1, 5)
                for name in ["data", "formatting", "model loading"] { work.beginning[name] = factor * (work.beginning[name] ?? 0) }
            }
            let isAsked = kind == .signal || kind == .everything && seed % 4 == 3
            return SimulatedMachine(
                work, began: began, computing: computing, disk: disk,
                signal: isAsked ? began + numbers.next(0.2, 1) * session : .infinity,
                jump: kind == .jump ? (began + numbers.next(0, 1) * session, numbers.next(-20_000, 20_000)) : (.infinity, 0))
        }
    }

    // MARK: sessions

    /// How one session ended.
    private struct Ended {
        enum Why: String { case merged, asked, notLast = "not the last", slowed, fault }

        let why: Why
        /// Seconds to the deadline.
        let left: Double
        let dropped: Int
        let changes: Int
    }

    /// Whether a session that ended with 75 became slower after the time had begun that merging and testing took: so much that what was measured until then,
    /// and a fifth more, was too little.
    private func slowed(_ machine: SimulatedMachine, _ calm: Calm, end: Double) -> Bool {
        let (merging, testing) = (calm.seconds("merging"), calm.seconds("testing", "report"))
        // The last moment to begin with them.
        var (low, high) = (machine.began - 1e6, end)
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if machine.computing.end(of: testing, from: machine.disk.end(of: merging, from: middle)) <= end { low = middle } else { high = middle }
        }
        let steps = machine.steps.filter { $0.end <= low }.suffix(5)
        let step = calm.seconds("training") / Double(calm.steps)
        let pace = max(1, steps.isEmpty ? 1 : steps.reduce(0) { $0 + $1.seconds } / Double(steps.count) / step)
        let writing = machine.checkpoints.last { $0.end <= low }.map { 1 / machine.disk.at($0.end) } ?? 1
        return end - low > 1.2 * (merging * max(pace, writing) + testing * pace)
    }

    /// Runs all sessions of a scene, and holds each to what is promised.
    private func play(_ scene: Scene, _ calm: Calm) throws -> [Ended] {
        var scene = scene
        var run = try Self.tiny()
        defer { try? FileManager.default.removeItem(atPath: run.folder) }
        // Checkpoints by the clock are more than the plan has.
        if scene.seed % 2 == 1 { run.options["save-minutes"] = "15" }
        var ended: [Ended] = []
        for number in 1...scene.sessions {
            let began = 1000 + Double(number) * 1e6
            var session = scene.session
            if scene.kind == .jump {
                // A time of day, by the clock as it is at the start.
                let deadline = TimeOfDay(of: SimulatedMachine.wall(began) + session + 60)
                session = deadline.next(after: SimulatedMachine.wall(began)) - SimulatedMachine.wall(began)
                run.options["deadline"] = deadline.description
            } else {
                (run.options["session"], run.options["sessions"]) = ("\(Int(session))s", "\(scene.sessions)")
            }
            let machine = scene.machine(calm, began: began)
            let outcome = try run.run(on: nil, files: SimulatedDisk(machine: machine)) {
                machine.drive(&$0, calm.phases, age: scene.age, identity: "\(number)")
            }
            let place: Comment = "\(scene.kind.rawValue), seed \(scene.seed), session \(number) of \(scene.sessions)"
            let left = began - scene.age + session - machine.uptime
            #expect(left >= 0, "\(place): ended \(-left) s late")
            let steps = outcome.events.filter { $0.kind == .step }
            let dropped = outcome.summary?["dropped_steps"]?.int ?? 0
            func end(_ why: Ended.Why) -> Ended {
                Ended(why: why, left: left, dropped: dropped, changes: outcome.summary?["schedule_changes"]?.array?.count ?? 0)
            }
            guard let error = outcome.error else {
                // Merged and tested, and the last step had the rate that the plan's last step has.
                let summary = try run.json("summary.json")
                #expect(summary["stopped_early"]?.bool == false && summary["merged_matches_adapter"]?["pass"]?.bool == true, "\(place)")
                #expect(summary["steps"]?.int == calm.steps - dropped && summary["planned_steps"]?.int == calm.steps, "\(place)")
                if let last = steps.last?.fields {
                    #expect(last["learning_rate"]?.double == calm.lastRate && last["step"] == summary["steps"], "\(place)")
                }
                return ended + [end(.merged)]
            }
            #expect(error.exit == .stoppedEarly, "\(place): \(error)")
            guard error.exit == .stoppedEarly else { return ended + [end(.fault)] }
            // Everything is saved: the newest checkpoint is that of the last step that was done.
            let recipe = try run.recipe()
            let saved = try OutputDirectory(path: run.output, files: RealFiles(), recipe: recipe).newestCheckpoint(recipe)?.step
            if let last = steps.last?.fields["step"]?.int { #expect(saved == last, "\(place)") }
            if number < scene.sessions {
                ended.append(end(.notLast))
                continue
            }
            let asked = machine.isAsked()
            let time = calm.time(session)
            let wasSlowed = slowed(machine, calm, end: began - scene.age + session - time.spare / 2)
            #expect(asked || wasSlowed, "\(place): \(error)")
            ended.append(end(asked ? .asked : wasSlowed ? .slowed : .fault))
            // The same command without a limit goes on behind what is saved.
            for key in ["session", "sessions", "deadline"] { run.options[key] = nil }
            let calmer = SimulatedMachine(calm.work)
            let rest = try run.run(on: nil, files: SimulatedDisk(machine: calmer)) { calmer.drive(&$0, calm.phases) }
            let done = rest.events.filter { $0.kind == .step }
            #expect(rest.error == nil && rest.summary?["merged_matches_adapter"]?["pass"]?.bool == true, "\(place): \(String(describing: rest.error))")
            if let first = done.first, let last = done.last {
                #expect(first.fields["step"]?.int == (saved ?? 0) + 1 && last.fields["learning_rate"]?.double == calm.lastRate, "\(place)")
            }
        }
        return ended
    }

    @Test(arguments: Kind.allCases) func `whatever the machine does, a session ends before its deadline, merged and tested or with everything saved`(
        kind: Kind
    ) throws {
        let calm = try Self.calm.get()
        #expect(calm.steps == 102 && calm.lastRate > 0 && calm.seconds("training") > 15_000 && calm.seconds("testing") > 1000)
        var ended: [Ended] = []
        var seed = 0
        while ended.count < max(1, (Self.count + Kind.allCases.count - 1) / Kind.allCases.count) {
            ended += try play(Scene(kind, seed: seed, calm), calm)
            seed += 1
        }
        func count(_ why: Ended.Why) -> Int { ended.count { $0.why == why } }
        let last = ended.filter { $0.why != .notLast && $0.why != .asked }
        // Nearly all: of those that are left the machine became slow when it was too late.
        #expect(count(.fault) == 0 && Double(count(.merged)) >= 0.9 * Double(last.count))
        guard ProcessInfo.processInfo.environment["LORIKEET_SESSIONS"] != nil else { return }
        let least = Int(ended.map(\.left).min() ?? 0)
        let merged = ended.filter { $0.why == .merged }
        let dropped = merged.map(\.dropped)
        print(
            "| \(kind.rawValue) | \(ended.count) | \(count(.merged)) | \(count(.asked)) | \(count(.notLast)) | \(count(.slowed)) | \(least) s | "
                + "\(dropped.count { $0 > 0 }) runs, \(dropped.reduce(0, +)) of \(calm.steps * merged.count) steps, at most \(dropped.max() ?? 0) |")
    }
}

extension SimulatedMachine {
    /// Makes a pipeline's time and its signals this machine's.
    ///
    /// - Parameters:
    ///   - phases: what its plan predicts; empty takes the plan's own.
    ///   - age: seconds of the session that were over when the process began.
    ///   - identity: the session's.
    func drive(_ environment: inout PipelineEnvironment, _ phases: [Plan.Phase] = [], age: Double = 0, identity: String? = nil) {
        environment.clock = self
        environment.started = began
        environment.session = SessionStart(started: began - age, identity: identity)
        environment.shouldStop = { self.isAsked() }
        environment.sinks.append(self)
        if !phases.isEmpty {
            environment.predicted = {
                var plan = $0
                plan.phases = phases
                return plan
            }
        }
    }
}
