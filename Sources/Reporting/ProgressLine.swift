import LorikeetGround
import LorikeetJSON

/// Lines that say how far something is, as a function of an event's fields and the columns there are.
package enum ProgressLine {
    /// A part of a line; those of lower rank come first where there is not room for all.
    struct Piece {
        let text: String
        let rank: Int

        init(_ rank: Int, _ text: String) { (self.rank, self.text) = (rank, text) }
    }

    private static let gap = "  "
    private static let shortestBar = 8
    private static let longestBar = 32

    /// A training step on one line of at most `columns` columns, with a bar.
    package static func step(_ fields: JSONObject, columns: Int, colour: Bool = false) -> String {
        let share = (fields["step"]?.double ?? 0) / max(1, fields["of"]?.double ?? 1)
        return line(share, pieces(fields), columns: columns, colour: colour)
    }

    /// Work other than training: its name, its share, and the time it has left.
    package static func work(_ name: String, share: Double, secondsLeft: Double?, columns: Int, colour: Bool = false) -> String {
        var pieces = [Piece(0, "\(percent(share)) %"), Piece(1, name.printable(lines: false))]
        if let secondsLeft { pieces.append(Piece(2, "\(Units.formatSeconds(secondsLeft)) left")) }
        return line(share, pieces, columns: columns, colour: colour)
    }

    /// The same as a line of a file.
    package static func plain(_ name: String, share: Double, secondsLeft: Double?) -> String {
        "\(name): \(percent(share)) %" + (secondsLeft.map { ", \(Units.formatSeconds($0)) left" } ?? "")
    }

    /// A download or an upload: on a terminal with a bar, elsewhere in words.
    ///
    /// - Parameters:
    ///   - file: the path of the file that is being moved; its last part is shown.
    ///   - done: bytes of all files that are there, of `all`.
    ///   - bytesPerSecond: nil while it is not known.
    ///   - columns: of the line on a terminal; nil elsewhere.
    package static func transfer(of file: String, _ done: Int64, _ all: Int64, bytesPerSecond: Double?, columns: Int?) -> String {
        let share = all > 0 ? Double(done) / Double(all) : 0
        let name = (file.lastPathPart.map { String($0.suffix(40)) } ?? "").printable(lines: false)
        var parts = ["\(percent(share)) %", "\(Units.formatBytes(done)) of \(Units.formatBytes(all))"]
        if let speed = bytesPerSecond {
            parts.append("\(Units.formatBytes(Int64(clamping: Int(speed.isFinite ? min(max(0, speed), 1e15) : 0))))/s")
            if speed > 1, all > done { parts.append("\(Units.formatSeconds(Double(all - done) / speed)) left") }
        }
        guard let columns else { return "  \(name): \(parts.joined(separator: ", "))" }
        let ranks = [0, 1, 4, 2]
        let pieces = zip(ranks, parts).map { Piece($0, $1) } + [Piece(3, name)]
        return line(share, pieces, columns: columns, colour: false)
    }

    private static func percent(_ share: Double) -> Int { Int(100 * min(1, max(0, share.isFinite ? share : 0))) }

    /// A log event as a line of a file, however wide.
    package static func calm(_ fields: JSONObject) -> String { pieces(fields).map(\.text).joined(separator: gap) }

    private static func line(_ share: Double, _ pieces: [Piece], columns: Int, colour: Bool) -> String {
        var chosen: Set<Int> = []
        var used = 0
        for (index, piece) in pieces.enumerated().sorted(by: { ($0.element.rank, $0.offset) < ($1.element.rank, $1.offset) }) {
            // The first two are worth more than the bar.
            let bar = piece.rank < 2 ? 0 : shortestBar + gap.count
            let needed = piece.text.columns + (chosen.isEmpty ? 0 : gap.count)
            guard used + needed + bar <= columns || chosen.isEmpty else { continue }
            chosen.insert(index)
            used += needed
        }
        let text = pieces.indices.filter(chosen.contains).map { pieces[$0].text }.joined(separator: gap)
        let room = min(longestBar, columns - used - gap.count)
        guard room >= shortestBar else { return text.fitted(to: columns) }
        return bar(share, room, colour: colour) + gap + text
    }

    private static func bar(_ share: Double, _ columns: Int, colour: Bool) -> String {
        let filled = Int((Double(columns) * min(1, max(0, share.isFinite ? share : 0))).rounded())
        let (done, left) = (String(repeating: "█", count: filled), String(repeating: "░", count: columns - filled))
        return colour ? TextStyle.progress.applied(to: done) + TextStyle.faint.applied(to: left) : done + left
    }

    /// What a `step` or `log` event says, in the order of the line.
    private static func pieces(_ fields: JSONObject) -> [Piece] {
        func number(_ key: String) -> Double? { fields[key]?.double }
        var pieces = [Piece(0, "step \(fields["step"]?.int ?? 0)/\(fields["of"]?.int ?? 0)")]
        if let epoch = number("epoch") { pieces.append(Piece(7, "epoch \(Figures.fixed(epoch, 2))")) }
        if let loss = number("loss") { pieces.append(Piece(1, "loss \(Figures.number(loss))")) }
        if let rate = number("learning_rate") { pieces.append(Piece(6, "lr \(Figures.scientific(rate))")) }
        if let norm = number("grad_norm") { pieces.append(Piece(9, "norm \(Figures.number(norm))")) }
        if let scale = number("loss_scale") { pieces.append(Piece(11, "scale \(Figures.scientific(scale))")) }
        if let speed = number("tokens_per_second") { pieces.append(Piece(3, "\(Int(clamping: speed)) tokens/s")) }
        if let share = number("share_of_limit") { pieces.append(Piece(8, "\(Int(clamping: 100 * share)) % of limit")) }
        pieces += machine(fields)
        if let left = number("seconds_left") { pieces.append(Piece(2, "\(Units.formatSeconds(left)) left")) }
        if let left = number("run_seconds_left") { pieces.append(Piece(4, "run \(Units.formatSeconds(left)) left")) }
        if let planned = number("run_seconds_planned"), let expected = number("run_seconds_expected") {
            pieces.append(Piece(6, "planned \(Units.formatSeconds(planned)), now \(Units.formatSeconds(expected))"))
        }
        return pieces
    }

    /// The machine's state: the card's memory where there is one, else the machine's.
    private static func machine(_ fields: JSONObject) -> [Piece] {
        func bytes(_ key: String) -> Int64? { fields[key]?.int.map(Int64.init).flatMap { $0 > 0 ? $0 : nil } }
        var pieces: [Piece] = []
        if let total = bytes("gpu_total_bytes"), let used = bytes("gpu_used_bytes") {
            pieces.append(Piece(5, "GPU \(Units.formatBytes(used)) of \(Units.formatBytes(total))"))
        }
        if let used = bytes("ram_used_bytes"), let total = bytes("ram_total_bytes") {
            pieces.append(Piece(pieces.isEmpty ? 5 : 12, "RAM \(Units.formatBytes(used)) of \(Units.formatBytes(total))"))
        }
        if let busy = fields["cpu_percent"]?.double { pieces.append(Piece(10, "CPU \(Int(clamping: busy)) %")) }
        return pieces
    }
}
