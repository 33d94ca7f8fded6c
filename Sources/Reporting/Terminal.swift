import LorikeetGround
import LorikeetJSON

/// Tells a person what happens: numbered steps, a progress line on a terminal, plain lines elsewhere.
package final class Terminal: EventSink {
    private let write: (String) -> Void
    private let isTerminal: Bool
    private var barShown = false

    /// - Parameters:
    ///   - isTerminal: draw a bar in place; otherwise a line per log event.
    ///   - write: puts text on the screen as it is: the bar's own control characters among it.
    package init(isTerminal: Bool, write: @escaping (String) -> Void) {
        self.isTerminal = isTerminal
        self.write = write
    }

    package func receive(_ event: Event) {
        let fields = event.fields
        switch event.kind {
        case .phase: line("[\(integer(fields["number"]))/\(integer(fields["of"]))] \(fields["name"]?.string ?? "")\(machine(fields))")
        case .phaseEnd: line("      \(fields["name"]?.string ?? "") took \(Units.formatSeconds(fields["seconds"]?.double ?? 0))")
        case .step: if isTerminal { bar(fields) }
        case .log: if !isTerminal { line("      " + progress(fields) + machine(fields)) }
        case .evaluation:
            line(
                "      step \(integer(fields["step"])): validation loss \(Self.figure(fields["eval_loss"]?.double ?? .nan)) over \(integer(fields["rows"])) rows"
            )
        case .checkpoint: if !isTerminal { line("      checkpoint at step \(integer(fields["step"]))") }
        case .environment, .data, .end: break
        case .warning: line("warning: \(fields["text"]?.string ?? "")")
        case .note, .result: for text in (fields["text"]?.string ?? "").split(separator: "\n", omittingEmptySubsequences: false) { line("      " + text) }
        }
    }

    /// A number with four significant decimals at most.
    package static func figure(_ value: Double) -> String {
        let scale = abs(value) >= 100 ? 1.0 : abs(value) >= 1 ? 1000.0 : 10000.0
        return abs(value) < 0.001 && value != 0 ? "\(Float(value))" : "\((value * scale).rounded() / scale)"
    }

    private func integer(_ value: JSON?) -> String { "\(value?.int ?? 0)" }

    /// Writes one line. Its text may come from files and models.
    private func line(_ text: String) {
        if barShown { write("\r\u{1B}[K") }
        barShown = false
        write(text.printable(lines: false) + "\n")
    }

    private func progress(_ fields: JSONObject) -> String {
        var text = "step \(integer(fields["step"]))/\(integer(fields["of"]))"
        if let loss = fields["loss"]?.double { text += "  loss \(Self.figure(loss))" }
        if let rate = fields["learning_rate"]?.double { text += "  lr \(Float(rate))" }
        if let speed = fields["tokens_per_second"]?.double { text += "  \(Int(speed.rounded())) tokens/s" }
        if let left = fields["seconds_left"]?.double { text += "  \(Units.formatSeconds(left)) left" }
        return text
    }

    private func machine(_ fields: JSONObject) -> String {
        guard let used = fields["ram_used_bytes"]?.int, let total = fields["ram_total_bytes"]?.int else { return "" }
        let cpu = fields["cpu_percent"]?.double.map { "CPU \(Int($0.rounded())) %, " } ?? ""
        var card = ""
        if let used = fields["gpu_used_bytes"]?.int, let total = fields["gpu_total_bytes"]?.int, total > 0 {
            card = ", GPU \(Units.formatBytes(Int64(used))) of \(Units.formatBytes(Int64(total)))"
        }
        return "  (\(cpu)RAM \(Units.formatBytes(Int64(used))) of \(Units.formatBytes(Int64(total)))\(card))"
    }

    private func bar(_ fields: JSONObject) {
        let (step, of) = (fields["step"]?.double ?? 0, max(1, fields["of"]?.double ?? 1))
        let filled = Int((24 * step / of).rounded())
        let blocks = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
        write("\r\u{1B}[K      \(blocks) \(progress(fields))")
        barShown = true
    }
}
