import LorikeetGround

/// A run's time over the sessions it may take. The check before a run and the deadline during it use these same numbers.
///
/// A session that is not the last trains until its end, less `margin`; the last one also keeps the time for merging and testing, and drops steps where it has
/// to.
package struct SessionTime: Sendable, Equatable {
    /// Seconds of this session, and of each later one.
    package var session: Double
    package var laterSession: Double
    /// The option that ends this session.
    package var limit = "--session"
    /// Seconds of this session that have passed.
    package var elapsed: Double
    /// Seconds from the start of a later session to its first step.
    package var starting: Double
    /// This session, from 1, of as many as the run may take.
    package var number = 1
    package var sessions = 1
    /// Optimiser steps that are left.
    package var steps: Int
    /// Seconds of training that are left, and of one step; 0 where training is done.
    package var training: Double
    package var step: Double
    /// Seconds that are kept for what follows training: the prediction plus a fifth.
    package var finishing: Double
    /// Seconds at the end of a session that are kept for its last checkpoint.
    package var saving = 0.0
    /// Seconds that a session leaves unused at most where training goes on in the next one: a step with its evaluation and checkpoint that would not end
    /// in it is not begun, or dropped, and what is done is saved once more.
    package private(set) var unused = 0.0

    /// - Parameters:
    ///   - plan: the whole run.
    ///   - done: steps that need not be done any more: a checkpoint holds them, or an earlier session has dropped them.
    package init(_ plan: Plan, done: Int = 0, session: Double, elapsed: Double, starting: Double) {
        func seconds(_ names: Set<String>) -> Double { plan.phases.filter { names.contains($0.name) }.reduce(0) { $0 + $1.seconds } }
        // The model and its kernels are loaded after the plan is made.
        let loading = plan.loadingSeconds
        (self.session, laterSession, self.elapsed, self.starting) = (session, session, elapsed + loading, starting + loading)
        steps = max(0, plan.steps - done)
        let share = plan.steps > 0 ? Double(max(0, plan.steps - done)) / Double(plan.steps) : 0
        training = seconds(Self.trainingPhases) * share
        step = share > 0 ? seconds(["training"]) / Double(plan.steps) : 0
        finishing =
            (1 + Self.reserve)
            * plan.phases.filter { !Self.trainingPhases.contains($0.name) && !Plan.beginning.contains($0.name) }.reduce(0) { $0 + $1.seconds }
    }

    /// The share that is added to the predicted seconds of what follows training.
    package static let reserve = 0.2

    /// Phases that go on step by step and may be cut anywhere. All others have to be done in one session.
    static let trainingPhases: Set = ["training", "evaluation", "checkpoints"]

    /// Seconds at the end of this session that are left free: `spare`, and what is kept for the last checkpoint.
    package var margin: Double { spare + saving }
    /// Half a minute, or a tenth of a session shorter than five minutes.
    package var spare: Double { Self.spare(session) }
    private static func spare(_ session: Double) -> Double { min(30, session / 10) }
    /// Seconds of a later session but for its margin and its start.
    package var laterSeconds: Double { laterSession - Self.spare(laterSession) - saving - starting }

    /// Keeps time for a checkpoint on a disk that is ten times slower than planned, at most a tenth of the session.
    ///
    /// - Parameters:
    ///   - checkpoint: the seconds that it is planned to take.
    ///   - evaluation: those of an evaluation during training.
    package mutating func keepSaving(_ checkpoint: Double, evaluation: Double = 0) {
        saving = min(10 * checkpoint, min(session, laterSession) / 10)
        unused = step + evaluation + checkpoint
    }
    /// Seconds from the start of this session to the expected end of the run, where it ends in this session.
    package var end: Double { elapsed + training + finishing / 1.2 }
    /// Seconds from the start of the last session that the run needs to its expected end.
    package var lastEnd: Double {
        guard let needed, needed > 1 else { return end }
        let rest = training - max(0, session - margin - elapsed - unused) - Double(needed - 2) * (laterSeconds - unused)
        return starting + max(0, rest) + finishing / 1.2
    }
    /// Seconds by which the run is longer than the sessions that it may take; negative where time is left.
    package var excess: Double {
        let here = session - margin - elapsed
        guard sessions > number else { return training + finishing - max(0, here) }
        return training + finishing - max(0, here - unused) - Double(sessions - number - 1) * max(0, laterSeconds - unused) - max(0, laterSeconds)
    }
    package var isLast: Bool { number >= sessions }

    /// The time in this session, in seconds after its beginning, at which training has to have ended.
    package var trainingEnd: Double { session - margin - (keepsFinishing ? finishing : 0) }

    /// Whether time is kept for what follows training: in the last session, where steps are dropped if not all of them fit. A session after that, and one
    /// that has no time for a step beside it, trains for as long as it may, and the same command goes on in one more.
    package var keepsFinishing: Bool {
        isLast && (needed == 1 || number == sessions && session - margin - elapsed >= finishing + step)
    }

    /// Steps that are dropped because the run has to end in this session, as planned.
    package var droppedSteps: Int {
        guard keepsFinishing, needed != 1, training > 0 else { return 0 }
        return steps - Int(Double(steps) * max(0, trainingEnd - elapsed) / training)
    }

    /// Sessions that the rest of the run needs, this one included; nil where no number is enough, because one step, or merging and testing, takes
    /// longer than a session.
    package var needed: Int? {
        let here = session - margin - elapsed
        if training + finishing <= here { return 1 }
        let later = laterSeconds
        guard later > max(step, unused), later >= finishing else { return nil }
        let rest = training - max(0, here - unused)
        return 2 + max(0, Int(((rest - (later - finishing)) / (later - unused)).rounded(.up)))
    }

    /// Sessions of the whole run: those before this one, and those that the rest needs.
    package var total: Int? { needed.map { number - 1 + $0 } }

    /// Whether this session can do anything of use: a step, or, where training is done, all that follows it.
    package var isOfUse: Bool {
        let here = trainingEnd - elapsed
        return training > 0 ? here >= step : session - margin - elapsed >= finishing
    }

    /// `2 sessions of 9 h 00 min`
    package func words(_ count: Int) -> String {
        let sessions = "\(count) \(count == 1 ? "session" : "sessions")"
        let of = " of \(Units.formatSeconds(session))"
        return sessions + of + (count > 1 && laterSession != session ? " (later ones of \(Units.formatSeconds(laterSession)))" : "")
    }

    /// - Parameter goesOn: whether there is a checkpoint to go on from. Then a lack of time gives a warning, and the run is refused only where it
    ///   could not do a single step.
    /// - Returns: a warning for the user; nil where the time is enough.
    /// - Throws: exit 3 when the sessions end before the run would, with the ways out.
    package func check(goesOn: Bool) throws(LorikeetError) -> String? {
        let left = Units.formatSeconds(max(0, session - elapsed))
        let what = "the \(goesOn ? "rest of the run" : "run") needs about \(Units.formatSeconds(training + finishing + margin))"
        // A run that goes on in one session more than named has nothing to be warned of where its rest fits into this one.
        if isOfUse, total.map({ $0 <= sessions }) == true || goesOn && needed == 1 { return nil }
        if goesOn, isOfUse {
            let ways = total.map { "name --sessions \($0)" } ?? "name a longer --session"
            if keepsFinishing {
                return "\(what) and this session, the last, has \(left) left: about \(droppedSteps) of \(steps) steps are dropped, so that it ends merged and "
                    + "tested; \(ways) to do them all"
            }
            return "\(what) and this session has \(left) left: it ends with everything saved (exit 75), and the same command goes on; \(ways)"
        }
        func refusal(_ why: String, _ way: String, shorter: String = goesOn ? "" : "train fewer records (max_train_samples) or epochs, or ") -> LorikeetError {
            LorikeetError(.doesNotFit, "\(what) and \(why)", at: limit, fix: shorter + way)
        }
        let shortage = refusal(
            "this session has \(left) left: too little for \(training > 0 ? "one step" : "merging and testing")", "start it in a new session")
        if training == 0, laterSeconds >= finishing { throw shortage }
        guard let total else {
            let of = "of a session's \(Units.formatSeconds(laterSession))"
            guard laterSeconds < finishing else {
                throw refusal("one step with its reserve takes \(Units.formatSeconds(starting + step + margin)) \(of)", "give a longer --session", shorter: "")
            }
            // Fewer records to train on would not help.
            throw refusal(
                "merging and testing have to be done within one session: they take \(Units.formatSeconds(starting + finishing + margin)) \(of)",
                "give a longer --session", shorter: "test fewer records (max_validation_samples, test_samples), or ")
        }
        guard total <= sessions else {
            let has = sessions == 1 ? "the session has \(left) left" : "this is session \(number) of \(sessions), with \(left) left"
            throw refusal(has, "say --sessions \(total): each session but the last ends with everything saved (exit 75), and the same command goes on")
        }
        throw shortage
    }
}
