import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetReporting
import Synchronization
import Testing

@testable import Lorikeet

/// What tiny runs write for people: report.html and TensorBoard's files.
struct ReportRunTests {
    private func page(_ run: TinyRun) throws -> String { try String(contentsOfFile: run.output + "/report.html", encoding: .utf8) }
    private func rebuilt(_ run: TinyRun) throws -> String { ReportPage(runs: [try RunFolder(path: run.output).record()]).html() }

    @Test func `the page of a run is the page that its files give`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil, stopAfter: 2).error?.exit == .stoppedEarly)
        #expect(try page(run) == rebuilt(run) && page(run).contains(#"<span class="pill stopped">"#))
        #expect(try run.run(on: nil).error == nil)
        let page = try page(run)
        #expect(try page == rebuilt(run))
        for part in [
            #"<span class="pill finished">"#, "id=\"chart-loss\"", "id=\"chart-share_of_limit\"", "Where the time went", "gated_activation.backward",
            "Answers to held-out records", "Merged model = base + adapter", "Predicted and measured", "The first record, token by token",
            "Full against free", "lorikeet run --config", "<td>disk</td>", "num_train_epochs", "2 starts",
        ] {
            #expect(page.contains(part), "\(part)")
        }
        let record = try RunFolder(path: run.output).record()
        // Six steps, each once, of two processes.
        #expect(record.log.steps.map(\.step) == Array(1...6) && record.log.starts == 2 && record.log.damagedLines == 0)
        #expect(record.log.evaluations.map(\.step) == [2, 4] && record.status == .finished)
        #expect(record.settings.contains(.init(key: "lora.r", value: "8")) && record.presets.count > 8)
    }

    @Test func `a finished run makes its page again where it is missing or old`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let whole = try page(run)
        try FileManager.default.removeItem(atPath: run.output + "/report.html")
        #expect(try run.run(on: nil).error == nil && page(run) == whole)
        // A kill between the run's end and its page.
        try "old".write(toFile: run.output + "/report.html", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -1000)], ofItemAtPath: run.output + "/report.html")
        #expect(try run.run(on: nil).error == nil && page(run) == whole)
    }

    @Test func `the page is written while the run goes on, and seldom enough`() throws {
        final class Ticking: Clock {
            private let kept = Mutex(0.0)
            var uptime: Double { kept.withLock { $0 } }
            var now: Double { 1000 + uptime }
            func pass(_ seconds: Double) { kept.withLock { $0 += seconds } }
        }
        let (clock, folder) = (Ticking(), try TinyRun().folder)
        let events = folder + "/events.jsonl"
        try "".write(toFile: events, atomically: true, encoding: .utf8)
        let file = ReportFile(clock: clock, seconds: 5)
        var written: [Int] = []
        try file.open(path: folder + "/report.html", events: events, files: RealFiles()) { log in
            written.append(log.steps.count)
            return RunRecord(name: "x", log: log)
        }
        for step in 1...20 {
            clock.pass(1)
            try file.receive(Event(kind: .step, time: clock.now, fields: ["step": JSON(step), "of": 20, "loss": 1]))
        }
        #expect(written == [0, 5, 10, 15, 20])
        clock.pass(0.5)
        try file.receive(Event(kind: .evaluation, time: clock.now, fields: ["step": 20, "eval_loss": 1]))
        #expect(written.count == 5)
        clock.pass(0.5)
        try file.receive(Event(kind: .evaluation, time: clock.now, fields: ["step": 20, "eval_loss": 1]))
        try file.receive(Event(kind: .end, time: clock.now, fields: ["exit": 0]))
        #expect(written.count == 7 && FileManager.default.fileExists(atPath: folder + "/report.html"))
    }

    @Test func `TensorBoard's files are written as report_to says`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil, stopAfter: 2).error?.exit == .stoppedEarly)
        #expect(try run.run(on: nil).error == nil)
        #expect(try RealFiles().list(run.output + "/tensorboard").count == 2)
        run.output += "-none"
        run.options["report-to"] = "none"
        #expect(try run.run(on: nil).error == nil && !RealFiles().exists(run.output + "/tensorboard"))
        #expect(RealFiles().exists(run.output + "/report.html"))
    }

    @Test func `a directory without a run is refused in a sentence`() throws {
        let folder = try TinyRun().folder
        for (path, part) in [(folder, "no events.jsonl"), (folder + "/none", "no such directory")] {
            let error = #expect(throws: LorikeetError.self) { try RunFolder(path: path).record() }
            #expect(error?.exit == .unusableInput && error?.what.contains(part) == true)
        }
    }
}
