import LorikeetGround
import LorikeetJSON

/// What a plan predicted beside what was measured: one list of rows, which the terminal shows at the end of a run and the page at any time.
package struct PredictedMeasured {
    package struct Row: Sendable, Equatable {
        package enum Unit: Sendable { case bytes, seconds, count }

        package let name: String
        let unit: Unit
        /// nil where the plan has nothing to compare with.
        package let predicted: Double?
        /// nil where it is not measured (yet).
        package let measured: Double?

        /// Measured divided by predicted.
        package var ratio: Double? { predicted.flatMap { predicted in measured.map { $0 / predicted } } }

        /// Name, predicted, measured and ratio as text; `-` stands for a missing value.
        package var cells: [String] {
            [name, text(predicted), text(measured), ratio.map { Figures.compact($0, digits: 3) } ?? "-"]
        }

        private func text(_ value: Double?) -> String {
            switch unit {
            case .bytes: Figures.bytes(value)
            case .seconds: Figures.seconds(value)
            case .count: value.map { Figures.count(Int(clamping: $0)) } ?? "-"
            }
        }
    }

    package private(set) var rows: [Row] = []

    /// Rows that have neither a prediction nor a measurement are left out; none without a plan.
    package init(_ run: RunRecord) {
        guard let plan = run.plan else { return }
        let (summary, memory) = (run.summary, MeasuredMemory(run: run))
        add("GPU memory", .bytes, plan["predicted_gpu_bytes"]?.double, memory.gpu)
        add("memory", .bytes, plan["predicted_rss_bytes"]?.double, memory.process)
        add("disk", .bytes, plan["predicted_disk_bytes"]?.double, run.diskBytes)
        add("steps", .count, plan["steps"]?.double, run.stepsDone.map { Double($0.step) })
        for phase in ["model loading", "training", "merging", "testing"] {
            guard let seconds = summary?["phases"]?[phase]?.double else { continue }
            add(phase, .seconds, Self.predictedSeconds(of: phase, plan), seconds)
        }
        add("time in all", .seconds, plan["predicted_seconds"]?.double, run.status == .finished ? summary?["seconds"]?.double : nil)
        let training = plan["phases"]?["training"]?.double ?? 0
        let speed = training > 0 ? plan["train_tokens"]?.double.map { $0 / training } : nil
        add("tokens/s", .count, speed, summary?["tokens_per_second"]?.double)
    }

    /// The plan's seconds for a numbered step. The plan counts some parts by themselves, such as the evaluations that take place during training.
    static func predictedSeconds(of phase: String, _ plan: JSON?) -> Double? {
        guard let phases = plan?["phases"], phases[phase]?.double != nil else { return nil }
        return PlannedPhase.all.filter { $0.step == phase }.reduce(0) { $0 + (phases[$1.name]?.double ?? 0) }
    }

    private mutating func add(_ name: String, _ unit: Row.Unit, _ predicted: Double?, _ measured: Double?) {
        let predicted = predicted.flatMap { $0.isFinite && $0 > 0 ? $0 : nil }
        let measured = measured.flatMap { $0.isFinite ? $0 : nil }
        if predicted != nil || measured != nil { rows.append(Row(name: name, unit: unit, predicted: predicted, measured: measured)) }
    }

    /// The rows as lines of a terminal, under a line that names the columns.
    package var text: String {
        func line(_ cells: [String]) -> String { cells[0].padded(to: 18) + cells[1].padded(to: 15) + cells[2].padded(to: 15) + cells[3] }
        return ([line(["", "planned", "happened", "ratio"])] + rows.map { line($0.cells) }).joined(separator: "\n")
    }
}
