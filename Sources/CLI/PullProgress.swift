import Glibc
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetReporting

/// Shows a download or an upload on standard error: a bar on a terminal, plain lines every half minute elsewhere, or an object of JSON a line.
final class PullProgress {
    enum Form { case text, json }

    private let form: Form
    private let isTerminal: Bool
    private let clock: any Clock
    private var line = LiveLine()
    private var shown = -1e9
    /// When the present files began, and how many of their bytes were there.
    private var start: (time: Double, done: Int64)?

    init(form: Form, isTerminal: Bool = Screen.errorIsLive, clock: any Clock = SystemClock()) {
        (self.form, self.isTerminal, self.clock) = (form, isTerminal, clock)
    }

    // A transfer that fails leaves its bar; the message follows when this object is gone.
    deinit { Screen.errorWithControls(line.erase()) }

    func receive(_ event: HubEvent) {
        if case .progress(_, let done, let of, let allDone, _) = event {
            if start == nil { start = (clock.uptime, allDone) }
            // The end of a file has a line of its own.
            guard clock.uptime - shown >= interval, done != of else { return }
            shown = clock.uptime
        }
        switch event {
        case .fetching, .pushing:
            start = nil
            // A file's first line about the transfer comes when it has taken a while.
            if form == .text, !isTerminal { shown = clock.uptime }
        default: break
        }
        switch form {
        case .json: Screen.errorLine(Self.json(event).serialized())
        case .text:
            guard let text = text(event) else { return }
            if case .progress = event, isTerminal {
                Screen.errorWithControls(line.draw(text))
            } else {
                Screen.errorWithControls(line.erase())
                Screen.errorLine(text)
            }
        }
    }

    /// Seconds between two tellings of a transfer.
    private var interval: Double {
        switch form {
        case _ where isTerminal: 0.1
        case .json: 10
        case .text: StatusLine.tellingInterval
        }
    }

    private func text(_ event: HubEvent) -> String? {
        switch event {
        case .fetching(let name, let files, let bytes):
            return "fetching \(files) \(files == 1 ? "file" : "files") of \(name), \(Units.formatBytes(bytes))"
        case .headers(let name, let files): return "reading the \(files == 1 ? "header" : "headers of \(files) files") of \(name)"
        case .progress(let file, _, _, let allDone, let all): return transfer(file, allDone, all)
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

    private func transfer(_ file: String, _ done: Int64, _ all: Int64) -> String {
        let seconds = start.map { clock.uptime - $0.time } ?? 0
        let speed = seconds > 0.5 ? Double(done - (start?.done ?? 0)) / seconds : nil
        // A line as wide as the terminal could wrap.
        return ProgressLine.transfer(of: file, done, all, bytesPerSecond: speed, columns: isTerminal ? Screen.columns(STDERR_FILENO) - 1 : nil)
    }

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
