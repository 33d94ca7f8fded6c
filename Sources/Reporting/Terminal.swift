import LorikeetGround
import LorikeetJSON

/// Tells a person what happens: numbered steps, a live bar on a terminal, plain lines in files and notebooks.
package final class Terminal: EventSink {
    /// How events are shown.
    package struct Form: Sendable {
        /// Draws a bar in place; otherwise there is a line for each log event.
        package var isLive: Bool
        /// Only warnings and the result.
        package var isQuiet: Bool
        package var hasColour: Bool

        package init(isLive: Bool, isQuiet: Bool = false, hasColour: Bool = false) {
            self.isLive = isLive
            self.isQuiet = isQuiet
            self.hasColour = hasColour
        }
    }

    private let form: Form
    private let columns: () -> Int
    private let write: (String) -> Void
    private var bar = LiveLine()
    /// When the bar was drawn last.
    private var drawn = -1e9
    /// The machine's state as an event had it last: most steps have none.
    private var machine: JSONObject = [:]
    /// The work whose share is reported at present: its name, when it began, and when a line about it was last written (seconds since 1970).
    private var work: (name: String, start: Double, told: Double)?

    /// Seconds between two drawings of the bar, and between two lines of a file about the same work.
    private static let drawingInterval = 0.1
    private static let tellingInterval = 30.0

    /// - Parameters:
    ///   - columns: of the terminal at the moment; asked before each drawing.
    ///   - write: puts text on the screen as it is: the bar's own control characters among it.
    package init(_ form: Form, columns: @escaping () -> Int = { 80 }, write: @escaping (String) -> Void) {
        self.form = form
        self.columns = columns
        self.write = write
    }

    package func receive(_ event: Event) {
        let fields = event.fields
        switch event.kind {
        case .warning: line("warning: \(text(fields))", .warning)
        case .result: for part in lines(text(fields)) { writeLine(verdict("      " + part.printable(lines: false))) }
        case .environment, .data: break
        // A run that ends in the middle of a step is told of on standard error.
        case .end: eraseBar()
        case _ where form.isQuiet: break
        case .phase:
            work = nil
            keepMachine(fields)
            line("[\(integer(fields["number"]))/\(integer(fields["of"]))] \(text(fields, "name"))", .heading, rest: machineText(fields))
        case .phaseEnd: line("      \(text(fields, "name")) took \(Units.formatSeconds(fields["seconds"]?.double ?? 0))", .faint)
        case .step:
            keepMachine(fields)
            if form.isLive, isDue(event.time, isLast: fields["step"]?.int == fields["of"]?.int) { drawStep(fields) }
        case .progress: progress(fields, at: event.time)
        case .log:
            keepMachine(fields)
            if !form.isLive { line("      " + ProgressLine.calm(fields)) }
        case .evaluation:
            line(
                "      step \(integer(fields["step"])): validation loss \(Figures.number(fields["eval_loss"]?.double)) over \(integer(fields["rows"])) rows"
            )
        case .checkpoint: if !form.isLive { line("      checkpoint at step \(integer(fields["step"]))") }
        case .note: for part in lines(text(fields)) { line("      " + part) }
        }
    }

    private func integer(_ value: JSON?) -> String { "\(value?.int ?? 0)" }
    private func text(_ fields: JSONObject, _ key: String = "text") -> String { fields[key]?.string ?? "" }

    // MARK: lines

    private func lines(_ text: String) -> [String] { text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }

    /// Writes one line. Its text may come from files and models.
    private func line(_ text: String, _ style: TextStyle? = nil, rest: String = "") {
        writeLine(styled(text.printable(lines: false), style) + rest.printable(lines: false))
    }

    /// Writes a line whose text is escaped already.
    private func writeLine(_ shown: String) {
        eraseBar()
        write(shown + "\n")
    }

    private func styled(_ text: String, _ style: TextStyle?) -> String {
        guard form.hasColour, let style, !text.isEmpty else { return text }
        return style.applied(to: text)
    }

    private static let proofs = ["merged = adapter  ", "transfer          ", "sidecar           "]

    /// A line of the result, with the colour of its verdict where it tells of a proof.
    private func verdict(_ text: String) -> String {
        guard form.hasColour, let proof = Self.proofs.first(where: { text.dropFirst(6).hasPrefix($0) }) else { return text }
        let rest = text.dropFirst(6 + proof.count)
        for (word, style) in [("pass", TextStyle.good), ("FAIL", .bad), ("not tested", .warning)] where rest.hasPrefix(word) {
            return "      " + proof + style.applied(to: word) + rest.dropFirst(word.count)
        }
        return text
    }

    private func machineText(_ fields: JSONObject) -> String {
        guard let used = fields["ram_used_bytes"]?.int, let total = fields["ram_total_bytes"]?.int else { return "" }
        let cpu = fields["cpu_percent"]?.double.map { "CPU \(Int($0.rounded())) %, " } ?? ""
        var card = ""
        if let used = fields["gpu_used_bytes"]?.int, let total = fields["gpu_total_bytes"]?.int, total > 0 {
            card = ", GPU \(Units.formatBytes(Int64(used))) of \(Units.formatBytes(Int64(total)))"
        }
        return "  (\(cpu)RAM \(Units.formatBytes(Int64(used))) of \(Units.formatBytes(Int64(total)))\(card))"
    }

    // MARK: the bar

    private static let machineKeys = ["cpu_percent", "ram_used_bytes", "ram_total_bytes", "gpu_used_bytes", "gpu_total_bytes"]

    private func keepMachine(_ fields: JSONObject) {
        for key in Self.machineKeys { if let value = fields[key] { machine[key] = value } }
    }

    private func isDue(_ time: Double, isLast: Bool) -> Bool {
        guard isLast || time - drawn >= Self.drawingInterval || time < drawn else { return false }
        drawn = time
        return true
    }

    private func drawStep(_ fields: JSONObject) {
        var all = fields
        for entry in machine.entries where all[entry.key] == nil { all[entry.key] = entry.value }
        draw { ProgressLine.step(all, columns: $0, colour: form.hasColour) }
    }

    /// Merging, testing and exporting: the share of the work that is done.
    private func progress(_ fields: JSONObject, at time: Double) {
        let (name, share) = (text(fields, "name"), fields["share"]?.double ?? 0)
        if work?.name != name { work = (name, time, time) }
        guard let work else { return }
        let elapsed = time - work.start
        let left = share > 0.02 && elapsed > 1 ? elapsed / share * (1 - share) : nil
        if form.isLive {
            guard isDue(time, isLast: share >= 1) else { return }
            draw { ProgressLine.work(name, share: share, secondsLeft: left, columns: $0, colour: form.hasColour) }
        } else if time - work.told >= Self.tellingInterval {
            self.work?.told = time
            line("      " + ProgressLine.plain(name, share: share, secondsLeft: left))
        }
    }

    /// Draws a line in place. A line as wide as the terminal could wrap, so that it leaves the last column free.
    private func draw(_ line: (Int) -> String) {
        let width = max(2, columns())
        let indent = width >= 60 ? "  " : ""
        write(bar.draw(indent + line(width - 1 - indent.count)))
    }

    private func eraseBar() {
        let text = bar.erase()
        if !text.isEmpty { write(text) }
    }
}
