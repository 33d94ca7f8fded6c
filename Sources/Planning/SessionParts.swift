import LorikeetGround
import LorikeetJSON

extension SessionTime {
    /// What the run does in one of its sessions, as planned.
    package struct Part: Sendable, Equatable {
        /// From 1.
        package let session: Int
        /// Seconds from the session's start to its first step, or to merging where training is done.
        package let starting: Double
        /// Optimiser steps, and their seconds with evaluations and checkpoints.
        package let steps: Int
        package let training: Double
        /// Seconds of merging, testing and the report; 0 in all sessions but the last.
        package let finishing: Double

        /// Seconds from the session's start to the end of its work.
        package var seconds: Double { starting + training + finishing }

        var json: JSON {
            [
                "session": JSON(session), "starting_seconds": .number(starting), "steps": JSON(steps), "training_seconds": .number(training),
                "finishing_seconds": .number(finishing), "seconds": .number(seconds),
            ]
        }
    }

    /// The rest of the run, session by session; empty where no number of sessions is enough.
    package var parts: [Part] {
        guard let needed else { return [] }
        var (parts, left, leftSteps) = ([Part](), training, steps)
        for index in 0..<needed {
            let (start, room) = index == 0 ? (elapsed, session - margin - elapsed - unused) : (starting, laterSeconds - unused)
            let isLast = index == needed - 1
            let seconds = isLast ? left : min(left, max(0, room))
            let done = isLast || training <= 0 ? leftSteps : min(leftSteps, Int(Double(steps) * seconds / training))
            parts.append(Part(session: number + index, starting: start, steps: done, training: seconds, finishing: isLast ? finishing / 1.2 : 0))
            (left, leftSteps) = (left - seconds, leftSteps - done)
        }
        return parts
    }

    /// `parts` for people, a line each.
    package func partLines() -> [String] {
        let parts = parts
        return parts.map { part in
            let work =
                (part.steps > 0 ? ["\(part.steps) steps in \(Units.formatSeconds(part.training))"] : [])
                + (part.finishing > 0 ? ["merging and testing \(Units.formatSeconds(part.finishing))"] : [])
            let end = part.session == parts.last?.session ? "" : " with everything saved (exit 75)"
            return "    session \(part.session): \(work.joined(separator: ", ")), ends after \(Units.formatSeconds(part.seconds))\(end)"
        }
    }
}
