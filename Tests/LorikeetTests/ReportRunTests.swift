import FailingFiles
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
        let file = ReportFile(clock: clock, seconds: 5, remedy: "lorikeet report out")
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

    @Test func `a run goes on where its page, TensorBoard's files or its cards cannot be written`() throws {
        let (run, whole) = (try TinyRun(), try TinyRun())
        #expect(try whole.run(on: nil).error == nil)
        let disk = UnwritableFiles { $0.contains("report.html") || $0.contains("/tensorboard") || $0.contains("README.md") }
        let outcome = try run.run(on: nil, files: disk) { $0.reportSeconds = 0 }
        #expect(outcome.error == nil && outcome.summary?["merged_matches_adapter"]?["pass"] == true, "\(String(describing: outcome.error))")
        #expect(try run.adapter() == whole.adapter())
        let files = RealFiles()
        for name in ["report.html", "tensorboard", "merged/README.md", "adapter/README.md"] { #expect(!files.exists(run.output + "/" + name), "\(name)") }
        // Each is told once, with what to do.
        let warnings = outcome.events.filter { $0.kind == .warning }.compactMap { $0.fields["text"]?.string }
        #expect(
            warnings.count { $0.hasPrefix("report.html could not be written") && $0.contains("'lorikeet report \(run.output)' makes it") } == 1, "\(warnings)")
        #expect(warnings.count { $0.hasPrefix("TensorBoard's file could not be written") } == 1)
        #expect(warnings.count { $0.hasPrefix("the model card could not be written") } == 2)
        #expect(try RunFolder(path: run.output).record().log.steps.count == 6)
        let again = try run.run(on: nil)
        #expect(again.error == nil && again.count(.step) == 0)
        for name in ["report.html", "merged/README.md", "adapter/README.md"] { #expect(files.exists(run.output + "/" + name), "\(name)") }
    }

    @Test func `a file of TensorBoard's ends with a whole record where a write fails`() throws {
        let folder = try TinyRun().folder
        let file = TensorBoardFile()
        let reporter = Reporter(sinks: [file], clock: SystemClock())
        try reporter.attempt(file) {
            try file.open(folder: folder + "/tb", time: 1, settings: [], recipe: "", files: FullDisk(bytes: 600))
        }
        for step in 1...20 { try reporter.report(.log, ["step": JSON(step), "loss": 1]) }
        let name = try #require(RealFiles().list(folder + "/tb").first)
        var bytes = try RealFiles().read(folder + "/tb/" + name)[...]
        #expect(bytes.count > 300 && bytes.count <= 600)
        while !bytes.isEmpty {
            let length = bytes.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
            #expect(bytes.count >= length + 16)
            bytes = bytes.dropFirst(length + 16)
        }
    }

    @Test func `the page is tried again after a failure, and a page that is made meanwhile has a file of its own`() throws {
        let folder = try TinyRun().folder
        let (events, page) = (folder + "/events.jsonl", folder + "/report.html")
        try "".write(toFile: events, atomically: true, encoding: .utf8)
        // A folder in the place of the run's file beside the page.
        let beside = page + RealFiles.partialSuffix
        try RealFiles().createDirectory(beside + "/inside")
        let file = ReportFile(clock: SystemClock(), seconds: 0, remedy: "lorikeet report out")
        let reporter = Reporter(sinks: [file], clock: SystemClock())
        try reporter.attempt(file) { try file.open(path: page, events: events, files: RealFiles()) { RunRecord(name: "x", log: $0) } }
        #expect(!RealFiles().exists(page))
        try RealFiles().writeDurably("own", to: page, beside: .ofThisProcess)
        #expect(try RealFiles().readText(page) == "own" && RealFiles().isDirectory(beside))
        for path in [beside + "/inside", beside] { try RealFiles().remove(path) }
        try reporter.report(.end, ["exit": 0])
        #expect(try RealFiles().readText(page).contains("<html") && RealFiles().list(folder).allSatisfy { !$0.contains("partial") })
    }

    @Test func `the summary's times are of all processes together`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil, stopAfter: 2).error?.exit == .stoppedEarly)
        let stopped = try run.json("summary.json")
        #expect(stopped["starts"] == 1)
        let outcome = try run.run(on: nil)
        let summary = try #require(outcome.summary)
        let log = try RunFolder(path: run.output).record().log
        #expect(log.starts == 2 && summary["starts"] == 2)
        for phase in log.phases where phase.name != "report" {
            // The events have milliseconds.
            #expect(abs((summary["phases"]?[phase.name]?.double ?? -1) - phase.seconds) < 0.002, "\(phase)")
        }
        let before = stopped["phases"]?["training"]?.double ?? 0
        let own = outcome.events.first { $0.kind == .phaseEnd && $0.fields["name"] == "training" }?.fields["seconds"]?.double ?? 0
        #expect(before > 0 && own > 0 && abs((summary["phases"]?["training"]?.double ?? 0) - before - own) < 0.002)
        #expect(summary["seconds"]?.double ?? 0 > stopped["seconds"]?.double ?? 1)
    }
}
