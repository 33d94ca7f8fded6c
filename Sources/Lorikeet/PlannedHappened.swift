import LorikeetGround
import LorikeetJSON
import LorikeetPlanning

/// What a plan predicted beside what happened, as a table.
struct PlannedHappened {
    struct Row: Equatable {
        let name: String
        let planned: String
        let happened: String
        /// Happened divided by planned; nil where nothing was planned.
        let ratio: Double?
    }

    private(set) var rows: [Row] = []
    /// What the table has of training; nil where it has all of it.
    private let part: String?

    /// - Parameter done: steps that earlier starts had trained: training is planned and measured for those after them.
    init(_ plan: Plan, _ summary: JSON, done: Int = 0) {
        let left = max(0, plan.steps - done)
        let share = plan.steps > 0 ? Double(left) / Double(plan.steps) : 1
        part = done > 0 ? "training and time in all are of this start alone: \(left) of \(plan.steps) steps" : nil
        func bytes(_ name: String, _ planned: Int64, _ key: String) {
            guard let happened = summary[key]?.int, happened > 0 else { return }
            add(name, Double(planned), Double(happened)) { Units.formatBytes(Int64($0)) }
        }
        bytes("GPU memory", plan.predictedGPUBytes, "peak_gpu_bytes")
        bytes("memory", plan.predictedRSSBytes, "peak_rss_bytes")
        bytes("disk", plan.predictedDiskBytes, "disk_bytes")
        func planned(_ names: String...) -> Double { plan.phases.reduce(0) { names.contains($1.name) ? $0 + $1.seconds : $0 } }
        for (phase, seconds) in [
            ("model loading", planned("model loading")), ("training", share * planned("training", "evaluation")), ("merging", planned("merging")),
            ("testing", planned("testing")),
        ] {
            if let happened = summary["phases"]?[phase]?.double { add(phase, seconds, happened, Units.formatSeconds) }
        }
        if let seconds = summary["seconds"]?.double {
            add("time in all", plan.predictedSeconds - (1 - share) * planned("training", "evaluation"), seconds, Units.formatSeconds)
        }
        if let speed = summary["tokens_per_second"]?.double {
            let seconds = planned("training")
            add("tokens/s", seconds > 0 ? Double(plan.trainTokens) / seconds : 0, speed) { "\(Int($0.rounded()))" }
        }
    }

    private mutating func add(_ name: String, _ planned: Double, _ happened: Double, _ format: (Double) -> String) {
        guard planned.isFinite, happened.isFinite else { return }
        rows.append(Row(name: name, planned: planned > 0 ? format(planned) : "-", happened: format(happened), ratio: planned > 0 ? happened / planned : nil))
    }

    /// The table's lines.
    var text: String {
        func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(1, width - text.count)) }
        func line(_ cells: [String]) -> String { padded(cells[0], 18) + padded(cells[1], 15) + padded(cells[2], 15) + cells[3] }
        let body = rows.map { row in line([row.name, row.planned, row.happened, row.ratio.map { "\(($0 * 100).rounded() / 100)" } ?? "-"]) }
        return ([line(["", "planned", "happened", "ratio"])] + body + (part.map { ["(\($0))"] } ?? [])).joined(separator: "\n")
    }
}

extension Files {
    /// Bytes of all files under a folder; what cannot be read counts for nothing, links are not followed.
    func bytes(under folder: String) -> Int64 {
        guard let names = try? list(folder) else { return 0 }
        return names.reduce(0) { sum, name in
            let path = folder + "/" + name
            if isLink(path) { return sum }
            return sum + (isDirectory(path) ? bytes(under: path) : Int64((try? byteCount(of: path)) ?? 0))
        }
    }
}
