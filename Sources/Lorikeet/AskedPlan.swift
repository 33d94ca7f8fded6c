import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// A recipe whose plan is asked for: the run's own process is a later one.
package struct AskedPlan {
    private let recipe: Recipe
    private let begun: BegunRun?
    private let elapsed: Double
    private let now: Double
    private let length: SessionLength?

    /// - Parameters:
    ///   - begun: the run that the recipe would go on with.
    ///   - elapsed: seconds of this session that are over.
    ///   - now: seconds since 1970.
    package init(_ recipe: Recipe, begun: BegunRun?, elapsed: Double, now: Double) {
        (self.recipe, self.begun, self.elapsed, self.now) = (recipe, begun, elapsed, now)
        length = SessionLength(recipe, elapsed: elapsed, now: now)
    }

    /// The time of a recipe that names a session; nil where it names none, or nothing is left to do.
    ///
    /// - Parameter recipe: this one, or one with another number of sessions.
    private func time(_ recipe: Recipe, _ plan: Plan) -> SessionTime? {
        guard begun?.isFinished != true, let length else { return nil }
        // What comes before the first step, but for loading the model and its kernels, which `SessionTime` adds.
        let beginning = plan.beginningSeconds - plan.loadingSeconds
        var time = length.time(plan, done: begun?.done(of: plan) ?? 0, elapsed: elapsed + beginning, starting: beginning)
        (time.number, time.sessions) = (begun?.session ?? 1, recipe.sessions)
        return time
    }

    /// When the run ends by the clock on the wall, were it started now, and when this session does.
    private func endWords(_ time: SessionTime) -> String {
        func clock(_ seconds: Double) -> String { TimeOfDay(of: now + seconds - elapsed).description }
        let session = "this session ends at \(clock(time.session))"
        guard time.needed == 1 else { return session }
        return "ends at about \(clock(time.end)), \(Units.formatSeconds(time.end)) after the start; \(session)"
    }

    /// - Throws: as `RunLimits`.
    package func limits(
        isElsewhere: Bool, _ download: InputLocator.Download?, notebook: NotebookService?, files: any Files
    ) throws -> RunLimits {
        try RunLimits(
            recipe, isElsewhere: isElsewhere, download: download, output: OutputDirectory(path: recipe.output, files: files), notebook: notebook,
            files: files, goesOn: begun?.steps != nil, time: time)
    }

    /// The plan as people are shown it, with the least changes that fit where the run would be refused (`FineTuning.Plan.misfit`).
    ///
    /// - Throws: exit 3 with those changes, where the card's memory does not suffice for any plan; else as `RunPlanner.plan`.
    package func plan(_ planner: inout RunPlanner, _ limits: RunLimits, _ download: InputLocator.Download?) throws -> FineTuning.Plan {
        var (recipe, fitted) = (recipe, [String]())
        if recipe.fit {
            var fitting = Fitting(planner, limits)
            let changes = try fitting.automatic()
            fitted = Fitting.words(changes, from: recipe, samples: planner.dataset.train.count)
            try planner.take(changes)
            for change in changes { recipe.set(change.key, change.value) }
        }
        var plan: Plan
        do { plan = try planner.plan() } catch let error as LorikeetError where error.exit == .doesNotFit {
            var fitting = Fitting(planner, limits)
            throw try fitting.explained(error).error
        }
        let time = time(recipe, plan)
        (plan.sessionsNeeded, plan.sessions, plan.fitted) = (time?.total, time?.parts ?? [], fitted)
        var shown = FineTuning.Plan(plan, download: download, begun: begun, time: time)
        if let time { shown.end = endWords(time) }
        guard begun?.isFinished != true else { return shown }
        do {
            if let warning = try limits.require(plan, recipe) { shown.notes.append(warning) }
        } catch let error as LorikeetError {
            var fitting = Fitting(planner, limits)
            let (explained, ways) = try fitting.explained(error)
            (shown.refusal, shown.fittingWays) = (explained, ways)
        }
        return shown
    }
}
