import Glibc
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetReporting

/// Shows a download or an upload on standard error: a bar on a terminal, lines elsewhere, or an object of JSON a line.
final class PullProgress {
    enum Form { case text, json }

    private let form: Form
    private let isTerminal: Bool
    private let clock: any Clock
    private var barShown = false
    private var shown = -1e9
    /// When the present files began, and how many of their bytes were there.
    private var start: (time: Double, done: Int64)?

    init(form: Form, isTerminal: Bool = isatty(STDERR_FILENO) == 1, clock: any Clock = SystemClock()) {
        (self.form, self.isTerminal, self.clock) = (form, isTerminal, clock)
    }

    func receive(_ event: HubEvent) {
        if case .progress(_, let done, let of, let allDone, _) = event {
            if start == nil { start = (clock.uptime, allDone) }
            // Ten times a second on a terminal, else every ten seconds; the end of a file has a line of its own.
            guard clock.uptime - shown >= (isTerminal ? 0.1 : 10), done != of else { return }
            shown = clock.uptime
        }
        switch event {
        case .fetching, .pushing: start = nil
        default: break
        }
        switch form {
        case .json: Screen.errorLine(Self.json(event).serialized())
        case .text:
            guard let text = text(event) else { return }
            if case .progress = event, isTerminal {
                Screen.errorWithControls("\r\u{1B}[K" + Self.cut(text.printable(lines: false)))
                barShown = true
            } else {
                if barShown { Screen.errorWithControls("\r\u{1B}[K") }
                barShown = false
                Screen.errorLine(text)
            }
        }
    }

    private func text(_ event: HubEvent) -> String? {
        switch event {
        case .fetching(let name, let files, let bytes):
            return "fetching \(files) \(files == 1 ? "file" : "files") of \(name), \(Units.formatBytes(bytes))"
        case .headers(let name, let files): return "reading the \(files == 1 ? "header" : "headers of \(files) files") of \(name)"
        case .progress(let file, _, _, let allDone, let all): return bar(file, allDone, all)
        case .resumed(let file, let at): return "  \(file): going on at \(Units.formatBytes(at))"
        case .fetched(let file, let bytes): return "  \(file)  \(Units.formatBytes(bytes))"
        case .pushing(let name, let files, let bytes):
            return "uploading \(files) \(files == 1 ? "file" : "files") to \(name), \(Units.formatBytes(bytes))"
        // Files below this size are read at once.
        case .hashing(let file, let bytes): return bytes < 1 << 30 ? nil : "  \(file)  reading \(Units.formatBytes(bytes)) for its check sum"
        case .sent(let file, let bytes): return "  \(file)  \(Units.formatBytes(bytes))"
        case .present(let file, let bytes): return "  \(file)  \(Units.formatBytes(bytes)) (the hub has it already)"
        case .waiting(let what, let why, let seconds): return "  \(what): \(why); again in \(Units.formatSeconds(seconds))"
        case .locked(let file): return "  \(file): another process fetches it; waiting"
        case .warning(let text): return "lorikeet: warning: \(text)"
        }
    }

    private func bar(_ file: String, _ done: Int64, _ all: Int64) -> String {
        let share = all > 0 ? min(1, Double(done) / Double(all)) : 0
        let filled = Int((24 * share).rounded())
        var text = "  " + String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
        text += " \(Int(100 * share)) %  \(Units.formatBytes(done)) of \(Units.formatBytes(all))"
        if let start, clock.uptime - start.time > 0.5 {
            let speed = Double(done - start.done) / (clock.uptime - start.time)
            text += "  \(Units.formatBytes(Int64(speed)))/s"
            if speed > 1, all > done { text += "  \(Units.formatSeconds(Double(all - done) / speed)) left" }
        }
        return text + "  " + (file.split(separator: "/").last.map { String($0.suffix(40)) } ?? "")
    }

    /// A line that is wider than the terminal would wrap, and could not be drawn over.
    static func cut(_ text: String) -> String { text.fitted(to: Screen.columns(STDERR_FILENO) - 1) }

    private static func json(_ event: HubEvent) -> JSON {
        switch event {
        case .fetching(let name, let files, let bytes): ["event": "fetching", "name": .string(name), "files": JSON(files), "bytes": .integer(bytes)]
        case .headers(let name, let files): ["event": "headers", "name": .string(name), "files": JSON(files)]
        case .progress(let file, let done, let of, let allDone, let all):
            [
                "event": "progress", "file": .string(file), "done": .integer(done), "of": of.map { .integer($0) } ?? .null, "all_done": .integer(allDone),
                "all": .integer(all),
            ]
        case .resumed(let file, let at): ["event": "resumed", "file": .string(file), "at": .integer(at)]
        case .fetched(let file, let bytes): ["event": "fetched", "file": .string(file), "bytes": .integer(bytes)]
        case .pushing(let name, let files, let bytes):
            ["event": "uploading", "name": .string(name), "files": JSON(files), "bytes": .integer(bytes)]
        case .hashing(let file, let bytes): ["event": "hashing", "file": .string(file), "bytes": .integer(bytes)]
        case .sent(let file, let bytes): ["event": "sent", "file": .string(file), "bytes": .integer(bytes)]
        case .present(let file, let bytes): ["event": "present", "file": .string(file), "bytes": .integer(bytes)]
        case .waiting(let what, let why, let seconds):
            ["event": "waiting", "what": .string(what), "why": .string(why), "seconds": .number(seconds)]
        case .locked(let file): ["event": "locked", "file": .string(file)]
        case .warning(let text): ["event": "warning", "text": .string(text)]
        }
    }
}
