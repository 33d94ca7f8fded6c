import Glibc
import LorikeetDevices
import LorikeetGround

/// One line on a terminal's standard error that is drawn again while something goes on; nothing elsewhere.
final class StatusLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1 && !Screen.isDumb
    private let clock: any Clock = SystemClock()
    private var shown = -1.0
    /// The work that is shown, and when it began.
    private var work = (name: "", start: 0.0)

    /// Draws a text at most five times a second.
    func show(_ text: @autoclosure () -> String) {
        guard isTerminal, clock.uptime - shown > 0.2 else { return }
        shown = clock.uptime
        Screen.errorWithControls("\r\u{1B}[K" + PullProgress.cut(text().printable(lines: false)))
    }

    /// Draws how much of the work called `name` is done, from 0 to 1, and how long the rest will take.
    func show(_ name: String, _ share: Double) {
        if work.name != name { work = (name, clock.uptime) }
        show(Self.text(name, share, seconds: clock.uptime - work.start))
    }

    static func text(_ name: String, _ share: Double, seconds: Double) -> String {
        let left = share > 0 ? ", \(Units.formatSeconds(seconds / share * (1 - share))) left" : ""
        return "\(name) \(Int(share * 100)) %\(left)"
    }

    /// Runs a body that shows its work, and takes the line away at its end.
    func during<Result>(_ body: () throws -> Result) rethrows -> Result {
        defer { if shown >= 0 { Screen.errorWithControls("\r\u{1B}[K") } }
        return try body()
    }
}
