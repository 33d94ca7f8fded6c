import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetReporting

/// The live line as a function of fields and columns, and what a terminal gets.
struct TerminalTests {
    private static let step: JSONObject = [
        "step": 1234, "of": 12500, "epoch": 0.1974, "loss": 0.53124, "learning_rate": 2.9e-5, "grad_norm": 1.2341, "loss_scale": 65536,
        "tokens_per_second": 412.4, "share_of_limit": 0.413, "gpu_used_bytes": 8_482_560_410, "gpu_total_bytes": 15_634_661_376,
        "ram_used_bytes": 1_932_735_283, "ram_total_bytes": 31_138_512_896, "cpu_percent": 99.4, "seconds_left": 4523, "run_seconds_left": 6012,
    ]

    @Test func `a line takes what fits, most important first`() {
        #expect(ProgressLine.step(Self.step, columns: 8) == "step 12…")
        #expect(ProgressLine.step(Self.step, columns: 15) == "step 1234/12500")
        #expect(ProgressLine.step(Self.step, columns: 30) == "step 1234/12500  loss 0.5312")
        #expect(ProgressLine.step(Self.step, columns: 45) == "█░░░░░░░░░░░░░░  step 1234/12500  loss 0.5312")
        let narrow = ProgressLine.step(Self.step, columns: 77)
        #expect(narrow == "██░░░░░░░░░░░░░░  step 1234/12500  loss 0.5312  412 tokens/s  1 h 15 min left", "\(narrow)")
        let wide = ProgressLine.step(Self.step, columns: 220)
        #expect(
            wide.hasSuffix(
                "step 1234/12500  epoch 0.20  loss 0.5312  lr 2.9e-05  norm 1.234  scale 65536  412 tokens/s  41 % of limit  "
                    + "GPU 7.9 GiB of 14.6 GiB  RAM 1.8 GiB of 29.0 GiB  CPU 99 %  1 h 15 min left  run 1 h 40 min left"), "\(wide)")
    }

    @Test func `a line is never wider than there is room, whatever the numbers are`() {
        for columns in 1...240 {
            #expect(ProgressLine.step(Self.step, columns: columns).columns <= columns)
            #expect(ProgressLine.step(["step": 1, "of": 0, "loss": .number(.nan), "seconds_left": .number(.infinity)], columns: columns).columns <= columns)
            #expect(ProgressLine.step(["tokens_per_second": 1e300, "share_of_limit": .number(-.infinity)], columns: columns).columns <= columns)
            #expect(ProgressLine.work("模型合并 e\u{301}", share: 0.4, secondsLeft: 75, columns: columns).columns <= columns)
        }
    }

    @Test func `other work has its name, share and time left`() {
        #expect(ProgressLine.work("merging", share: 0.25, secondsLeft: 75, columns: 60).hasSuffix("░  25 %  merging  1 min 15 s left"))
        #expect(ProgressLine.work("merging", share: 2, secondsLeft: nil, columns: 30).hasPrefix("███████"))
    }

    @Test func `a transfer has a bar that fits on a terminal, and words elsewhere`() {
        func line(_ columns: Int?, _ speed: Double? = 1_048_576) -> String {
            ProgressLine.transfer(of: "a/model\u{1B}.gguf", 1 << 28, 1 << 30, bytesPerSecond: speed, columns: columns)
        }
        #expect(line(nil) == "  model\\u{1B}.gguf: 25 %, 256 MiB of 1.0 GiB, 1.0 MiB/s, 12 min 48 s left")
        #expect(line(nil, nil) == "  model\\u{1B}.gguf: 25 %, 256 MiB of 1.0 GiB")
        #expect(line(100).hasSuffix("░  25 %  256 MiB of 1.0 GiB  1.0 MiB/s  12 min 48 s left  model\\u{1B}.gguf"), "\(line(100))")
        for columns in 1...120 { #expect(line(columns).columns <= columns) }
        #expect(line(30, .infinity).columns <= 30 && line(nil, .nan).contains("0 B/s"))
    }

    @Test func `columns of wide and combining characters`() {
        for (text, columns) in [
            ("abc", 3), ("", 0), ("e\u{301}", 1), ("模型", 4), ("한글", 4), ("ｆ", 2), ("👍", 2), ("👩‍👩‍👧", 2), ("❤\u{FE0F}", 2), ("é", 1), ("█░…", 3),
            ("\u{1100}\u{1161}\u{11A8}", 2), ("ا", 1), ("か゚", 2),
        ] { #expect(text.columns == columns, "\(text)") }
        #expect("模型abc".fitted(to: 4) == "模…" && "模型".fitted(to: 3) == "模…" && "模型".fitted(to: 4) == "模型" && "ab".fitted(to: 0) == "")
    }

    // MARK: events

    private struct Ticking: Clock {
        let uptime: Double
        var now: Double { 1_700_000_000 + uptime }
    }

    private func shown(_ form: Terminal.Form, columns: @escaping () -> Int = { 80 }, _ events: [(Event.Kind, Double, JSONObject)]) -> String {
        var text = ""
        let sink = Terminal(form, columns: columns) { text += $0 }
        for (kind, time, fields) in events { sink.receive(Event(kind: kind, time: time, fields: fields)) }
        return text
    }

    @Test func `the bar is drawn ten times a second at most, and at the last step`() {
        let events = (1...10).map { (Event.Kind.step, Double($0) * 0.03, ["step": JSON($0), "of": 10] as JSONObject) }
        let text = shown(.init(isLive: true), events)
        #expect(text.contains("step 1/10") && !text.contains("step 2/10") && text.contains("step 5/10") && text.contains("step 10/10"))
        #expect(!text.contains("\n"))
    }

    @Test func `a bar is never as wide as the terminal is when it is drawn`() {
        var width = 100
        var text = ""
        let sink = Terminal(.init(isLive: true), columns: { width }) { text += $0 }
        for (time, columns) in [100, 40, 7, 2, 200].enumerated() {
            (width, text) = (columns, "")
            sink.receive(Event(kind: .step, time: Double(time), fields: Self.step))
            #expect(text.hasSuffix("\r") && Screen(text).rows.allSatisfy { $0.columns < columns }, "\(columns): \(text.debugDescription)")
        }
    }

    @Test func `a bar that a narrower terminal has wrapped is removed whole, and nothing above it`() {
        var width = 100
        var text = ""
        let sink = Terminal(.init(isLive: true), columns: { width }) { text += $0 }
        sink.receive(Event(kind: .note, time: 0, fields: ["text": "above"]))
        sink.receive(Event(kind: .step, time: 1, fields: Self.step))
        var screen = Screen(text)
        #expect(screen.rows.count == 2 && screen.rows[1].columns > 60)
        // As tmux, VTE and others do it: the row is cut into several, and the cursor stays in front of the same character.
        for columns in [40, 20] {
            width = columns
            screen.wrap(columns)
            #expect(screen.rows.count > 2 && screen.cursor == (1, 0))
            text = ""
            sink.receive(Event(kind: .step, time: Double(2 + 100 - columns), fields: Self.step))
            screen.write(text)
            #expect(screen.rows.count == 2 && screen.rows[0] == "      above" && screen.rows[1].columns < columns, "\(screen.rows)")
        }
        text = ""
        sink.receive(Event(kind: .end, time: 200, fields: ["exit": 75]))
        screen.write(text)
        #expect(screen.rows == ["      above", ""] && screen.cursor == (1, 0))
    }

    /// The rows of a terminal that has room for all of them.
    private struct Screen {
        var rows = [""]
        var cursor = (row: 0, column: 0)

        init(_ text: String) { write(text) }

        /// Knows what the line is drawn with: line ends, `\r`, and "erase to the end of the screen".
        mutating func write(_ text: String) {
            var rest = Substring(text)
            while let character = rest.first {
                if rest.hasPrefix("\u{1B}[J") {
                    rows[cursor.row] = String(rows[cursor.row].prefix(cursor.column))
                    rows.removeSubrange((cursor.row + 1)...)
                    rest = rest.dropFirst(3)
                    continue
                }
                rest = rest.dropFirst()
                switch character {
                case "\r": cursor.column = 0
                case "\n":
                    cursor = (cursor.row + 1, 0)
                    if cursor.row == rows.count { rows.append("") }
                default:
                    var row = Array(rows[cursor.row])
                    if cursor.column < row.count { row[cursor.column] = character } else { row.append(character) }
                    rows[cursor.row] = String(row)
                    cursor.column += 1
                }
            }
        }

        /// Makes the terminal narrower; the cursor is in a row's first column.
        mutating func wrap(_ columns: Int) {
            let pieces = rows.map { row -> [String] in
                row.isEmpty ? [""] : stride(from: 0, to: row.count, by: columns).map { String(Array(row)[$0..<min($0 + columns, row.count)]) }
            }
            cursor.row = pieces[..<cursor.row].reduce(0) { $0 + $1.count }
            rows = pieces.flatMap { $0 }
        }
    }

    @Test func `a verb's work is one line on a terminal and a line every half minute elsewhere`() {
        final class Hands: Clock {
            nonisolated(unsafe) var uptime = 100.0
            var now: Double { uptime }
        }
        for isLive in [true, false] {
            let clock = Hands()
            var text = ""
            let line = StatusLine(isLive: isLive, clock: clock, columns: { 60 }) { text += $0 }
            line.during {
                for step in 0...40 {
                    line.show("exporting q8_0\u{1B}[2J", Double(step) / 40)
                    clock.uptime += 2
                }
            }
            if isLive {
                #expect(text.hasSuffix("\r\u{1B}[J") && Screen(text).rows == [""] && !text.contains("\n") && text.contains("100 %"))
                #expect(!text.contains("\u{1B}[2J") && text.contains("u{1B}"))
            } else {
                #expect(text == "exporting q8_0\\u{1B}[2J: 37 %, 50 s left\nexporting q8_0\\u{1B}[2J: 75 %, 20 s left\n", "\(text.debugDescription)")
            }
        }
    }

    @Test func `a step shows the machine's state of the last event that had it`() {
        let text = shown(
            .init(isLive: true), columns: { 200 },
            [(.phase, 0, ["number": 7, "of": 10, "name": "training", "ram_used_bytes": 1024, "ram_total_bytes": 4096]), (.step, 1, ["step": 1, "of": 2])])
        #expect(text.contains("RAM 1.0 KiB of 4.0 KiB"), "\(text)")
    }

    @Test func `work in a file is told every half minute, without control characters`() {
        let events = (0...40).map { (Event.Kind.progress, Double($0) * 2, ["name": "merging", "share": .number(Double($0) / 40)] as JSONObject) }
        #expect(shown(.init(isLive: false), events) == "      merging: 37 %, 50 s left\n      merging: 75 %, 20 s left\n")
        #expect(shown(.init(isLive: true), events).contains("merging"))
    }

    @Test func `quiet shows warnings and the result alone`() {
        let events: [(Event.Kind, Double, JSONObject)] = [
            (.phase, 0, ["number": 1, "of": 10, "name": "environment"]), (.note, 0, ["text": "note"]), (.log, 1, ["step": 1, "of": 2]),
            (.step, 1, ["step": 1, "of": 2]), (.evaluation, 1, ["step": 1]), (.progress, 1, ["name": "merging", "share": 0.5]),
            (.warning, 2, ["text": "careful"]), (.result, 3, ["text": "loss 1 -> 0"]), (.phaseEnd, 4, ["name": "environment"]),
        ]
        for live in [true, false] { #expect(shown(.init(isLive: live, isQuiet: true), events) == "warning: careful\n      loss 1 -> 0\n") }
    }

    @Test func `colours mark headings, warnings and verdicts, and no text of a file`() {
        let events: [(Event.Kind, Double, JSONObject)] = [
            (.phase, 0, ["number": 1, "of": 10, "name": "data"]), (.warning, 2, ["text": "a\u{1B}[31mb"]),
            (.result, 3, ["text": "merged = adapter  pass (x)\ntransfer          FAIL\n  after   pass the salt"]),
        ]
        let text = shown(.init(isLive: false, hasColour: true), events)
        #expect(
            text == "\u{1B}[1m[1/10] data\u{1B}[0m\n\u{1B}[33mwarning: a\\u{1B}[31mb\u{1B}[0m\n      merged = adapter  \u{1B}[32mpass\u{1B}[0m (x)\n"
                + "      transfer          \u{1B}[31mFAIL\u{1B}[0m\n        after   pass the salt\n", "\(text.debugDescription)")
    }

    @Test func `progress is not written to the file of events`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        let file = EventsFile()
        let reporter = Reporter(sinks: [file], clock: Ticking(uptime: 1))
        reporter.progress("merging", 0.2)
        try file.open(path: path, files: RealFiles())
        reporter.progress("merging", 0.5)
        try reporter.note("done")
        #expect(try RealFiles().readText(path).split(separator: "\n").count == 1)
        try RealFiles().remove(path)
    }
}
