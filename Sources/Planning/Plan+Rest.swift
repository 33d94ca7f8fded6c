import LorikeetGround
import LorikeetJSON

extension Plan {
    /// What is left of a run that has begun. The memory is that of the whole plan: a process that goes on holds the same.
    package struct Rest: Sendable, Equatable {
        /// Optimiser steps.
        package var steps: Int
        /// The plan's phases; those of training in proportion to the steps.
        package var phases: [Phase]
        /// Bytes that are still to be written.
        package var diskBytes: Int64

        package init(steps: Int, phases: [Phase], diskBytes: Int64) { (self.steps, self.phases, self.diskBytes) = (steps, phases, diskBytes) }

        package var seconds: Double { phases.reduce(0) { $0 + $1.seconds } }

        package var json: JSON {
            [
                "steps": JSON(steps), "seconds": .number(seconds), "phases": .object(JSONObject(phases.map { ($0.name, .number($0.seconds)) })),
                "disk_bytes": .integer(diskBytes),
            ]
        }
    }

    /// - Parameters:
    ///   - done: steps that a checkpoint holds.
    ///   - keptBytes: bytes of the plan's disk that are written.
    package func rest(done: Int, keptBytes: Int64) -> Rest {
        let left = max(0, steps - done)
        let share = steps > 0 ? Double(left) / Double(steps) : 0
        return Rest(
            steps: left, phases: phases.map { SessionTime.trainingPhases.contains($0.name) ? $0.scaled(by: share) : $0 },
            diskBytes: max(0, predictedDiskBytes - keptBytes))
    }
}
