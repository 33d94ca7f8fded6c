import Foundation
import LorikeetGround
import LorikeetReporting
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

/// Sessions of one kind each, on the same simulated machine.
extension SimulatedSessionTests {
    /// One session of a run.
    ///
    /// - Parameter identity: the container's; nil where every process is a session of its own.
    private func session(_ run: TinyRun, _ calm: Calm, _ machine: SimulatedMachine, identity: String? = nil) throws -> TinyRun.Outcome {
        try run.run(on: nil, files: SimulatedDisk(machine: machine)) { machine.drive(&$0, calm.phases, identity: identity) }
    }

    private func remove(_ run: TinyRun) { try? FileManager.default.removeItem(atPath: run.folder) }

    @Test func `a session that is accepted gets on, and as many as a refusal names are enough`() throws {
        let calm = try Self.calm.get()
        var refused = 0
        for length in [60.0, 500, 1500, 1900, 2150, 2300, 4000, 12_000, calm.shortest() - 1, calm.shortest(), (1.03 * calm.shortest()).rounded()] {
            var run = try Self.tiny()
            defer { remove(run) }
            run.options["session"] = "\(Int(length))s"
            let first = try session(run, calm, SimulatedMachine(calm.work))
            guard let error = first.error else {
                // What fits just so may lose a few steps; with a little more time it does not.
                let dropped = first.summary?["dropped_steps"]?.int ?? 102
                #expect(length >= calm.shortest() && dropped <= (length > calm.shortest() ? 0 : 6), "\(length) s: \(dropped) steps")
                continue
            }
            #expect(error.exit == .doesNotFit && !FileManager.default.fileExists(atPath: run.output), "\(length) s: \(error)")
            refused += 1
            guard let sessions = error.fix?.firstMatch(of: /--sessions (\d+)/).flatMap({ Int($0.1) }) else {
                // No number of them would be: merging and testing take longer.
                #expect(calm.time(length).needed == nil && length < 1.2 * calm.seconds("merging", "testing", "report") + 400, "\(length) s: \(error)")
                continue
            }
            run.options["sessions"] = "\(sessions)"
            for number in 1...sessions {
                let machine = SimulatedMachine(calm.work)
                let outcome = try session(run, calm, machine)
                #expect(machine.uptime - machine.began <= length, "\(length) s, session \(number): \(machine.uptime - machine.began) s")
                #expect(outcome.error == nil || outcome.error?.exit == .stoppedEarly && outcome.count(.step) > 0, "\(String(describing: outcome.error))")
                #expect(outcome.error == nil || number < sessions, "\(length) s: not done in \(sessions) sessions")
                if outcome.error == nil { break }
            }
            #expect(try run.json("summary.json")["stopped_early"]?.bool == false && run.json("summary.json")["dropped_steps"]?.int == 0)
        }
        #expect(refused == 9)
    }

    @Test func `a machine that was slow for a while costs the steps of that time, not the merged model`() throws {
        let calm = try Self.calm.get()
        let length = (1.05 * calm.shortest()).rounded()
        var run = try Self.tiny()
        defer { remove(run) }
        run.options["session"] = "\(Int(length))s"
        // Five times slower for an eighth of the session.
        let slow = SimulatedMachine.Speed(changes: [(1000 + 0.3 * length, 0.2), (1000 + 0.425 * length, 1)])
        let machine = SimulatedMachine(calm.work, computing: slow)
        let outcome = try session(run, calm, machine)
        let dropped = outcome.summary?["dropped_steps"]?.int ?? 102
        #expect(outcome.error == nil && machine.uptime - 1000 < length, "\(String(describing: outcome.error))")
        #expect((1...20).contains(dropped), "\(dropped) steps dropped")
        #expect(outcome.events.last { $0.kind == .step }?.fields["learning_rate"]?.double == calm.lastRate)
    }

    @Test func `the last session drops steps where the earlier ones were slow, and one after it does not`() throws {
        let calm = try Self.calm.get()
        let length = calm.shortest(sessions: 2) + 100
        var run = try Self.tiny()
        defer { remove(run) }
        (run.options["session"], run.options["sessions"]) = ("\(Int(length))s", "2")
        let slow = SimulatedMachine.Speed(changes: [(0, 0.7)])
        let first = try session(run, calm, SimulatedMachine(calm.work, computing: slow))
        #expect(first.error?.exit == .stoppedEarly && first.summary == nil)
        #expect(try run.json("summary.json")["dropped_steps"]?.int == 0)
        let done = first.count(.step)
        // A third session of two: it trains all that is left for as long as it may.
        let kept = run.folder + "/kept"
        try FileManager.default.copyItem(atPath: run.output, toPath: kept)
        let second = try session(run, calm, SimulatedMachine(calm.work))
        let warning = second.texts.first { $0.contains("steps are dropped, so that it ends merged and tested") }
        #expect(second.error == nil && warning?.contains("to do them all") == true, "\(String(describing: second.error)) \(second.texts)")
        let dropped = second.summary?["dropped_steps"]?.int ?? 0
        #expect(dropped > 5 && dropped < 30 && done + second.count(.step) == 102 - dropped, "\(dropped)")
        #expect(second.events.last { $0.kind == .step }?.fields["learning_rate"]?.double == calm.lastRate)
        try FileManager.default.removeItem(atPath: run.output)
        try FileManager.default.moveItem(atPath: kept, toPath: run.output)
        run.options["sessions"] = "1"
        let third = try session(run, calm, SimulatedMachine(calm.work))
        #expect(third.error?.exit == .stoppedEarly && third.texts.contains { $0.contains("name --sessions 3") }, "\(third.texts)")
        #expect(try run.json("summary.json")["dropped_steps"]?.int == 0)
    }

    @Test func `steps that an earlier session dropped are not planned again`() throws {
        let calm = try Self.calm.get()
        var run = try Self.tiny()
        defer { remove(run) }
        run.options["session"] = "\(Int(calm.shortest()) + 300)s"
        let slow = SimulatedMachine.Speed(changes: [(0, 0.5)])
        let first = try session(run, calm, SimulatedMachine(calm.work, computing: slow, signal: 1000 + 0.6 * calm.shortest()))
        #expect(first.error?.exit == .stoppedEarly)
        let recipe = try run.recipe()
        let checkpoint = try #require(try OutputDirectory(path: run.output, files: RealFiles(), recipe: recipe).newestCheckpoint(recipe))
        let left = checkpoint.left(of: calm.steps)
        #expect(left > 5 && left < calm.steps - checkpoint.step - 20, "\(left) steps left after \(checkpoint.step)")
        let begun = try #require(try BegunRun.find(recipe, goal: .testedModel, PipelineEnvironment()).run)
        #expect(begun.steps == checkpoint.step && calm.steps - begun.done(of: calm.plan) == left && begun.rest(of: calm.plan).steps == left)
        // Enough for what is left, and for no more.
        let share = Double(left) / Double(calm.steps)
        let work = share * calm.seconds("training", "evaluation", "checkpoints") + 1.2 * calm.seconds("merging", "testing", "report")
        let enough = calm.beginning + work + calm.time(100_000).margin + 60
        run.options["session"] = "\(Int(enough))s"
        let machine = SimulatedMachine(calm.work)
        let rest = try session(run, calm, machine)
        #expect(rest.error == nil && machine.uptime - 1000 < enough, "\(String(describing: rest.error))")
        #expect(!rest.texts.contains { $0.contains("the rest of the run needs") }, "\(rest.texts)")
        #expect(rest.count(.step) == left && rest.summary?["dropped_steps"]?.int == calm.steps - checkpoint.step - left)
        #expect(rest.events.last { $0.kind == .step }?.fields["learning_rate"]?.double == calm.lastRate)
    }

    @Test func `without a session nothing is planned anew, however slow the machine is`() throws {
        let calm = try Self.calm.get()
        var run = try Self.tiny()
        defer { remove(run) }
        run.options["session"] = "none"
        let machine = SimulatedMachine(calm.work, computing: .init(changes: [(0, 1), (5000, 0.1)]), disk: .init(changes: [(4000, 0.05)]))
        let outcome = try session(run, calm, machine)
        #expect(outcome.error == nil && outcome.count(.step) == calm.steps && machine.uptime > 100_000)
        #expect(outcome.summary?["dropped_steps"]?.int == 0 && outcome.summary?["schedule_changes"]?.array?.isEmpty == true)
    }

    @Test func `a step that becomes too slow for a session is dropped, and a slow disk's last checkpoint is whole before the session's end`() throws {
        let calm = try Self.calm.get()
        let length = calm.shortest(sessions: 3) + 500
        for (computing, disk) in [([(1000 + 0.97 * length, 0.05)], []), ([], [(1000 + 0.9 * length, 0.1)])] as [([(Double, Double)], [(Double, Double)])] {
            var run = try Self.tiny()
            defer { remove(run) }
            (run.options["session"], run.options["sessions"]) = ("\(Int(length))s", "3")
            let machine = SimulatedMachine(
                calm.work, computing: .init(changes: computing.map { ($0.0, $0.1) }), disk: .init(changes: disk.map { ($0.0, $0.1) }))
            let outcome = try session(run, calm, machine)
            #expect(outcome.error?.exit == .stoppedEarly && machine.uptime - 1000 <= length, "\(machine.uptime - 1000) of \(length) s")
            let recipe = try run.recipe()
            let saved = try OutputDirectory(path: run.output, files: RealFiles(), recipe: recipe).newestCheckpoint(recipe)?.step
            #expect(saved == outcome.count(.step) && outcome.count(.step) > 20)
        }
    }
}
