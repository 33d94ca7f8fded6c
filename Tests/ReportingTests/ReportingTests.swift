import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetReporting

struct ReportingTests {
    struct Still: Clock {
        var now: Double { 1000.5 }
        var uptime: Double { 3 }
    }

    @Test func `events wait for their file, and a torn last line is ended`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        try #"{"event":"st"#.write(toFile: path, atomically: true, encoding: .utf8)
        let file = EventsFile()
        let reporter = Reporter(sinks: [file], clock: Still(), machineState: { ["cpu_percent": 50] })
        try reporter.note("before")
        try file.open(path: path, files: RealFiles())
        try reporter.report(.log, ["step": 1])
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
        #expect(
            lines == [
                #"{"event":"st"#, #"{"event":"note","time":1000.5,"text":"before"}"#, #"{"event":"log","time":1000.5,"step":1,"cpu_percent":50}"#,
            ])
    }

    private func shown(terminal: Bool, _ body: (Reporter) throws -> Void) throws -> String {
        var text = ""
        let sink = Terminal(Terminal.Form(isLive: terminal)) { text += $0 }
        try body(Reporter(sinks: [sink], clock: Still()))
        return text
    }

    @Test func `numbered steps and log lines are plain where there is no terminal`() throws {
        let text = try shown(terminal: false) { reporter in
            _ = try reporter.phase(3, of: 10, "formatting") {}
            try reporter.report(.step, ["step": 1, "of": 4, "loss": 2.5])
            try reporter.report(.log, ["step": 2, "of": 4, "loss": 1.23456, "tokens_per_second": 301.4, "seconds_left": 75])
        }
        #expect(text == "[3/10] formatting\n      formatting took 0.0 s\n      step 2/4  loss 1.235  301 tokens/s  1 min 15 s left\n")
    }

    @Test func `a terminal gets a bar that other lines replace`() throws {
        let text = try shown(terminal: true) { reporter in
            try reporter.report(.step, ["step": 2, "of": 4, "loss": 2.5])
            try reporter.warning("careful")
        }
        #expect(text.contains("  ████████████████░░░░░░░░░░░░░░░░  step 2/4  loss 2.5"))
        #expect(text.hasSuffix("\r\r\u{1B}[Jwarning: careful\n"))
    }

    @Test func `text of files and models cannot move the cursor or add lines`() throws {
        let evil = "a\u{1B}[1A\u{1B}[2Kb\u{9B}Jc\rd"
        for terminal in [true, false] {
            let text = try shown(terminal: terminal) { reporter in
                try reporter.warning(evil + "\nwarning: all is well")
                try reporter.note(evil + "\nsecond")
                try reporter.report(.result, ["text": .string(evil)])
                _ = try reporter.phase(1, of: 2, evil) {}
            }
            #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || !$0.isUnprintable }, "\(text)")
            #expect(text.hasPrefix("warning: a\\u{1B}[1A\\u{1B}[2Kb\\u{9B}Jc\\u{D}d\\nwarning: all is well\n      a\\u{1B}"), "\(text)")
            #expect(text.contains("\n      second\n"))
        }
    }
}
