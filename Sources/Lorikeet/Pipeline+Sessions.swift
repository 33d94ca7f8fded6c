import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import LorikeetTraining

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

    /// The time that this session leaves for training, and what was predicted; nil where the recipe names no session.
    ///
    /// - Parameter validation: samples that are evaluated after the last step where nothing is tested.
    func trainingTime(_ plan: Plan, _ settings: TrainingSettings, validation: Int) -> TrainingTime? {
        guard let time = sessionTime(plan, done: stepsBefore) else { return nil }
        keepsTimeForTest = time.keepsFinishing
        func seconds(_ name: String) -> Double { plan.phases.first { $0.name == name }?.seconds ?? 0 }
        // Evaluations during training, and the last one counted in these.
        let last = settings.evaluatesAtEnd && validation > 0 ? Double(validation) / Double(min(validation, settings.evalSamples)) : 0
        let evaluations = Double(settings.evalSteps > 0 ? max(0, plan.steps - 1) / settings.evalSteps : 0)
        let evaluation = evaluations + last > 0 ? seconds("evaluation") / (evaluations + last) : 0
        let saves = settings.saveSteps > 0 ? plan.steps / settings.saveSteps + 1 : 1
        var left = TrainingTime(
            end: environment.session.started + time.session - time.margin,
            finishing: time.keepsFinishing ? time.finishing / (1 + SessionTime.reserve) + last * evaluation : nil,
            step: plan.steps > 0 ? seconds("training") / Double(plan.steps) : 0, evaluation: evaluation,
            checkpoint: seconds("checkpoints") / Double(saves))
        (left.reserve, left.longestPause) = (SessionTime.reserve, time.session / 10)
        return left
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
