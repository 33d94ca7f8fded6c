import LorikeetGround
import LorikeetReporting

extension Plan {
    /// A phase, or a part of one, and the seconds it is expected to take.
    package struct Phase: Sendable, Equatable {
        package let name: String
        package var seconds: Double
        /// The seconds that it may take at least and at most, where that is known beforehand; nil where one number says all.
        package var range: ClosedRange<Double>?
        /// What the table of rates says, where `seconds` is corrected by what earlier runs on this device took; else nil.
        package var tableSeconds: Double?

        package init(_ name: String, _ seconds: Double, range: ClosedRange<Double>? = nil) { (self.name, self.seconds, self.range) = (name, seconds, range) }

        /// The same phase where `factor` as long is expected.
        package func scaled(by factor: Double) -> Phase {
            var phase = self
            phase.seconds *= factor
            phase.range = range.map { $0.lowerBound * factor...$0.upperBound * factor }
            phase.tableSeconds = tableSeconds.map { $0 * factor }
            return phase
        }

        var words: String {
            let range = range.map { ", between \(Units.formatSeconds($0.lowerBound)) and \(Units.formatSeconds($0.upperBound))" } ?? ""
            return Units.formatSeconds(seconds) + range + (tableSeconds == nil ? "" : " (measured on this machine)")
        }
    }

    /// Phases that every start of a run begins with.
    package static let beginning: Set = ["environment", "data", "formatting", "checks", "planning", "model loading", "kernels"]

    /// Predicted seconds of each numbered step, in order.
    package var predictedSteps: [(name: String, seconds: Double)] {
        var steps: [(name: String, seconds: Double)] = []
        for phase in phases {
            let name = PlannedPhase.named(phase.name).step
            if let index = steps.firstIndex(where: { $0.name == name }) {
                steps[index].seconds += phase.seconds
            } else {
                steps.append((name, phase.seconds))
            }
        }
        return steps
    }

    /// Predicted seconds of a checkpoint.
    ///
    /// - Parameter saveSteps: steps from one to the next; 0 saves at the end alone.
    package func checkpointSeconds(saveSteps: Int) -> Double {
        (phases.first { $0.name == "checkpoints" }?.seconds ?? 0) / Double(saveSteps > 0 ? steps / saveSteps + 1 : 1)
    }

    /// Predicted seconds of an evaluation during training.
    ///
    /// - Parameter evalSteps: steps from one to the next; 0 evaluates at the end at most.
    package func evaluationSeconds(evalSteps: Int) -> Double {
        let count = evalSteps > 0 ? max(0, steps - 1) / evalSteps : 0
        return count > 0 ? (phases.first { $0.name == "evaluation" }?.seconds ?? 0) / Double(count) : 0
    }

    /// Seconds before the first step of training, as planned.
    package var beginningSeconds: Double { phases.filter { Self.beginning.contains($0.name) }.reduce(0) { $0 + $1.seconds } }

    /// Those of them that come after the plan is made: loading the model and its kernels.
    package var loadingSeconds: Double { phases.filter { ["model loading", "kernels"].contains($0.name) }.reduce(0) { $0 + $1.seconds } }

    /// The seconds that the whole run takes at least and at most; nil where one number says all.
    var range: ClosedRange<Double>? {
        guard phases.contains(where: { $0.range != nil }) else { return nil }
        return phases.reduce(0) { $0 + ($1.range?.lowerBound ?? $1.seconds) }...phases.reduce(0) { $0 + ($1.range?.upperBound ?? $1.seconds) }
    }

    /// The time for people: the whole run, then every phase; parts of a phase below it.
    func timeLines(width: Int) -> [String] {
        let between = range.map { " (\(Units.formatSeconds($0.lowerBound)) to \(Units.formatSeconds($0.upperBound)))" } ?? ""
        let rows = phases.map { "    \($0.name.padded(to: width))\($0.words)" }
        let source = phases.contains { $0.tableSeconds != nil } ? "the others are from the table of rates" : "all from the table of rates"
        let measured = device.map { $0.isMeasured ? "" : "; not measured on this card: \($0.name)'s rates are its data sheet's" } ?? ""
        // A twentieth lies within what such a reading can tell.
        let alone = phases.reduce(0) { $0 + $1.seconds / slowdown.of($1.name) }
        let factor = alone > 0 ? predictedSeconds / alone : 1
        let others = "    other processes are at work: \(Figures.fixed(factor, 1)) times as long as alone (\(Units.formatSeconds(alone)))"
        return ["time: about \(Units.formatSeconds(predictedSeconds))\(between)"] + rows + ["    \(source)\(measured)"] + (factor < 1.05 ? [] : [others])
    }
}
