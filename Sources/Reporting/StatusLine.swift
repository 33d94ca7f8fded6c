import LorikeetGround

/// How far a verb's work is: one line that is drawn again in place on a terminal, a plain line every half minute in a file or pipe.
package final class StatusLine {
    private let isLive: Bool
    private let clock: any Clock
    private let columns: () -> Int
    private let write: (String) -> Void
    private var line = LiveLine()
    /// When the line was drawn last, or a plain one written; at first the clock's time at the beginning of the work.
    private var told: Double
    private var isDrawn = false
    /// The work that is shown, and when it began.
    private var work: (name: String, start: Double)?

    /// Seconds between two drawings, and between two plain lines.
    private static let drawingInterval = 0.2
    package static let tellingInterval = 30.0

    /// - Parameters:
    ///   - isLive: the output is a terminal that can move its cursor.
    ///   - columns: of the terminal at the moment; asked before each drawing.
    ///   - write: puts text on the output as it is.
    package init(isLive: Bool, clock: any Clock, columns: @escaping () -> Int, write: @escaping (String) -> Void) {
        (self.isLive, self.clock, self.columns, self.write) = (isLive, clock, columns, write)
        told = clock.uptime
    }

    deinit { end() }

    /// Shows a text, which may come from files and models.
    package func show(_ text: @autoclosure () -> String) { show(live: { $0 > 0 ? text().printable(lines: false).fitted(to: $0) : "" }, plain: text) }

    /// Shows how much of the work called `name` is done, from 0 to 1, and how long the rest will take.
    package func show(_ name: String, _ share: Double) {
        let start = work?.name == name ? work?.start ?? clock.uptime : clock.uptime
        work = (name, start)
        let elapsed = clock.uptime - start
        let left = share > 0.02 && elapsed > 1 ? elapsed / share * (1 - min(1, share)) : nil
        show(
            live: { ProgressLine.work(name, share: share, secondsLeft: left, columns: $0) },
            plain: { ProgressLine.plain(name, share: share, secondsLeft: left) })
    }

    private func show(live: (Int) -> String, plain: () -> String) {
        let now = clock.uptime
        if isLive {
            guard !isDrawn || now - told > Self.drawingInterval else { return }
            write(line.draw(live(max(1, columns() - 1))))
            isDrawn = true
        } else {
            guard now - told >= Self.tellingInterval else { return }
            write(plain().printable(lines: false) + "\n")
        }
        told = now
    }

    /// Takes the line away.
    package func end() {
        let text = line.erase()
        if !text.isEmpty { write(text) }
    }

    /// Runs a body that shows its work, and takes the line away at its end.
    package func during<Result>(_ body: () throws -> Result) rethrows -> Result {
        defer { end() }
        return try body()
    }
}
