import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import Synchronization

/// The beginning of a session.
package struct SessionStart: Sendable, Equatable {
    /// The clock's uptime, in seconds.
    package let started: Double
    /// An identity that no other session has; nil where every process is a session of its own.
    package let identity: String?

    package init(started: Double, identity: String?) { (self.started, self.identity) = (started, identity) }
}

/// The time of a run over its sessions.
extension Pipeline {
    /// The session's time as the plan has it; nil where the recipe names no session.
    func sessionTime(_ plan: Plan, done: Int) -> SessionTime? {
        guard let seconds = recipe.sessionSeconds else { return nil }
        let now = environment.clock.uptime
        var time = SessionTime(
            plan, done: done, session: seconds, elapsed: now - environment.session.started, starting: now - environment.started)
        (time.number, time.sessions) = (sessionNumber, recipe.sessions)
        return time
    }

    /// Checks that the run, or what is left of it, fits into its sessions, and reports how many it needs.
    ///
    /// - Throws: exit 3 where it does not.
    func requireTime(_ plan: inout Plan) throws {
        sessionNumber = try output.sessions().number(of: environment.session.identity)
        let done = try output.newestStep(recipe)
        stepsBefore = done ?? 0
        guard let time = sessionTime(plan, done: done ?? 0) else { return }
        if let service = environment.notebook, time.session > service.longestSession {
            try reporter.warning("\(service.name.rawValue) ends a session after \(Units.formatSeconds(service.longestSession)): 'session' is longer")
        }
        if let warning = try time.check(goesOn: done != nil) { try reporter.warning(warning) }
        plan.sessionsNeeded = time.total
        if let total = time.total, total > 1 || recipe.sessions > 1 {
            try reporter.note("this is session \(time.number) of \(recipe.sessions); the run is planned to need \(time.words(total))")
        }
    }

    /// Counts this session where the recipe has sessions.
    func beginSession() throws {
        guard recipe.sessionSeconds != nil else { return }
        var sessions = try output.sessions()
        sessions.add(.init(identity: environment.session.identity, began: environment.clock.now - (environment.clock.uptime - environment.session.started)))
        try output.save(sessions)
    }

    /// Says before each step whether training has to end, so that the session ends in time.
    ///
    /// - Returns: nil where the recipe names no session.
    func trainingDeadline(_ plan: Plan) -> TrainingDeadline? {
        guard let time = sessionTime(plan, done: stepsBefore) else { return nil }
        keepsTimeForTest = time.keepsFinishing
        return TrainingDeadline(end: environment.session.started + time.trainingEnd, mostSeconds: time.session / 10, clock: environment.clock)
    }

    /// Whether a session that kept no time for what follows training has too little left for it.
    func leavesDeliveryToLater(_ plan: Plan) -> Bool {
        guard !keepsTimeForTest, let time = sessionTime(plan, done: plan.steps) else { return false }
        return !time.isOfUse
    }

    /// The end of a session with everything saved: exit 75.
    func stoppedEarly(_ what: String) -> LorikeetError {
        LorikeetError(.stoppedEarly, "\(what) with everything saved", fix: environment.notebook?.goingOn ?? "run the same command again")
    }
}

/// When training has to end. It is asked before every step, and the next step is taken to last as long as the longest so far, with what was
/// done around it (evaluation, checkpoint).
final class TrainingDeadline: Sendable {
    private let end: Double
    private let mostSeconds: Double
    private let clock: any Clock
    private let pace = Mutex<(last: Double?, longest: Double)>((nil, 0))

    /// - Parameters:
    ///   - end: the clock's uptime by which the last step has to be done.
    ///   - mostSeconds: longer pauses between two steps are not taken for the pace of training.
    init(end: Double, mostSeconds: Double, clock: any Clock) { (self.end, self.mostSeconds, self.clock) = (end, mostSeconds, clock) }

    func isReached() -> Bool {
        let now = clock.uptime
        let next = pace.withLock { pace -> Double in
            if let last = pace.last { pace.longest = min(mostSeconds, max(pace.longest, now - last)) }
            pace.last = now
            return pace.longest
        }
        return now + next > end
    }
}
