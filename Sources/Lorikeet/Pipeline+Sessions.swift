import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe
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
    ///
    /// - Parameters:
    ///   - done: steps that need not be done any more; nil takes what the newest checkpoint says.
    ///   - asked: a recipe with another number of sessions; nil takes the run's.
    func sessionTime(_ plan: Plan, done: Int? = nil, _ asked: Recipe? = nil) -> SessionTime? {
        guard let sessionLength else { return nil }
        let now = environment.clock.uptime
        var time = sessionLength.time(plan, done: done ?? stepsDone(of: plan), elapsed: now - environment.session.started, starting: now - environment.started)
        (time.number, time.sessions) = (sessionNumber, (asked ?? recipe).sessions)
        return time
    }

    /// Finds which session this is, and how far the run has come.
    func findSession() throws {
        sessionNumber = try output.sessions().number(of: environment.session.identity)
        checkpointBefore = try output.newestCheckpoint(recipe)
    }

    /// Steps of a plan that need not be done any more: the newest checkpoint holds them, or they were dropped before it.
    private func stepsDone(of plan: Plan) -> Int {
        guard let checkpointBefore else { return 0 }
        // What was dropped of another recipe is done.
        return acceptedChanges.isEmpty ? plan.steps - checkpointBefore.left(of: plan.steps) : checkpointBefore.step
    }

    /// What the run has to fit into.
    func limits(_ download: InputLocator.Download?) throws -> RunLimits {
        try RunLimits(
            recipe, isElsewhere: false, download: download, output: target, notebook: environment.notebook, files: environment.files,
            goesOn: checkpointBefore != nil
        ) { [self] recipe, plan in sessionTime(plan, recipe) }
    }

    /// With the key `fit`, changes what it may change until the run fits, and reads the records anew.
    ///
    /// - Returns: the changes in words.
    func fit(
        _ planner: inout RunPlanner, _ limits: RunLimits, _ preparation: inout Preparation, _ dataset: inout Dataset, _ compute: Compute
    ) throws -> [String] {
        guard recipe.fit else { return [] }
        var fitting = Fitting(planner, limits)
        let changes = try fitting.automatic()
        let words = Fitting.words(changes, from: recipe, samples: dataset.train.count)
        // From here on, and in run.yaml, it is decided.
        recipe = recipe.decided()
        guard !changes.isEmpty else { return [] }
        for change in changes { recipe.set(change.key, change.value) }
        try reporter.warning("the run would not fit, so fit changes \(words.joined(separator: ", "))")
        try planner.take(changes)
        preparation = planner.preparation
        dataset = try formatted(&preparation, compute)
        try check(dataset, preparation)
        return words
    }

    /// Does what may find that the run does not fit.
    ///
    /// - Throws: exit 3 with the least changes that fit.
    func fitting<Result>(_ planner: inout RunPlanner, _ limits: RunLimits, _ body: (inout RunPlanner) throws -> Result) throws -> Result {
        do { return try body(&planner) } catch let error as LorikeetError where error.exit == .doesNotFit {
            var fitting = Fitting(planner, limits)
            throw try fitting.explained(error).error
        }
    }

    /// Reports how many sessions the run needs, and decides whether this one is to end it: what comes until the first step may take longer than planned,
    /// and then steps are dropped.
    func reportTime(_ plan: inout Plan) throws {
        guard let time = sessionTime(plan) else { return }
        keepsTimeForTest = time.keepsFinishing
        if let service = environment.notebook, time.session > service.longestSession {
            try reporter.warning("\(service.name.rawValue) ends a session after \(Units.formatSeconds(service.longestSession)): 'session' is longer")
        }
        (plan.sessionsNeeded, plan.sessions) = (time.total, time.parts)
        if let total = time.total, total > 1 || recipe.sessions > 1 {
            try reporter.note("this is session \(time.number) of \(recipe.sessions); the run is planned to need \(time.words(total))")
        }
    }

    /// Counts this session where the recipe has sessions.
    func beginSession() throws {
        guard sessionLength != nil else { return }
        var sessions = try output.sessions()
        sessions.add(.init(identity: environment.session.identity, began: environment.clock.now - (environment.clock.uptime - environment.session.started)))
        try output.save(sessions)
    }

    /// The time that this session leaves for training, and what was predicted; nil where the recipe names no session.
    ///
    /// - Parameter validation: samples that are evaluated after the last step where nothing is tested.
    func trainingTime(_ plan: Plan, _ settings: TrainingSettings, validation: Int) -> TrainingTime? {
        guard let time = sessionTime(plan) else { return nil }
        // Half of what is spare is for what cannot be ended at once.
        sessionEnd = environment.session.started + time.session - time.spare / 2
        func seconds(_ name: String) -> Double { plan.phases.first { $0.name == name }?.seconds ?? 0 }
        // Evaluations during training, and the last one counted in these.
        let last = settings.evaluatesAtEnd && validation > 0 ? Double(validation) / Double(min(validation, settings.evalSamples)) : 0
        let evaluations = Double(settings.evalSteps > 0 ? max(0, plan.steps - 1) / settings.evalSteps : 0)
        let evaluation = evaluations + last > 0 ? seconds("evaluation") / (evaluations + last) : 0
        var left = TrainingTime(
            end: environment.session.started + time.session - time.margin,
            finishing: keepsTimeForTest ? time.finishing / (1 + SessionTime.reserve) + last * evaluation : nil,
            step: plan.steps > 0 ? seconds("training") / Double(plan.steps) : 0, evaluation: evaluation,
            checkpoint: plan.checkpointSeconds(saveSteps: settings.saveSteps))
        (left.writing, left.saving) = (seconds("merging") + seconds("exporting"), time.saving)
        (left.reserve, left.longestPause) = (SessionTime.reserve, time.session / 10)
        return left
    }

    /// Whether a session that kept no time for what follows training has too little left for it.
    func leavesDeliveryToLater(_ plan: Plan) -> Bool {
        guard !keepsTimeForTest, var time = sessionTime(plan, done: plan.steps) else { return false }
        // The model and its kernels are loaded.
        time.elapsed -= plan.loadingSeconds
        return !time.isOfUse
    }

    /// The end of a session with everything saved: exit 75.
    func stoppedEarly(_ what: String) -> LorikeetError {
        LorikeetError(.stoppedEarly, "\(what) with everything saved", fix: environment.notebook?.goingOn ?? "run the same command again")
    }
}
