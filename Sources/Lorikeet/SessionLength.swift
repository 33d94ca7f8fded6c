import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// How long this session of a recipe lasts, and each later one.
package struct SessionLength: Sendable, Equatable {
    /// Seconds from this session's start to its end.
    package let session: Double
    /// Seconds of each later session; with a deadline alone they are taken for as long as this one.
    package let later: Double
    /// The option that ends this session.
    package let limit: String
    private let saveSteps: Int
    private let evalSteps: Int

    /// nil where the recipe names neither a session nor a deadline.
    ///
    /// - Parameters:
    ///   - elapsed: seconds of this session that were over when the process began.
    ///   - now: seconds since 1970 when the process began: the deadline is the next moment after it.
    package init?(_ recipe: Recipe, elapsed: Double, now: Double) {
        let deadline = recipe.deadline.map { elapsed + $0.next(after: now) - now }
        guard let session = [recipe.sessionSeconds, deadline].compactMap({ $0 }).min() else { return nil }
        (self.session, later) = (session, recipe.sessionSeconds ?? session)
        limit = session == recipe.sessionSeconds ? "--session" : "--deadline"
        (saveSteps, evalSteps) = (recipe.saveSteps, recipe.evalSteps)
    }

    /// The time that a run has.
    ///
    /// - Parameters:
    ///   - done: steps that need not be done any more.
    ///   - elapsed: seconds from the session's start to the first step, but for loading the model and its kernels.
    ///   - starting: the same of a later session.
    func time(_ plan: Plan, done: Int, elapsed: Double, starting: Double) -> SessionTime {
        var time = SessionTime(plan, done: done, session: session, elapsed: elapsed, starting: starting)
        (time.laterSession, time.limit) = (later, limit)
        time.keepSaving(plan.checkpointSeconds(saveSteps: saveSteps), evaluation: plan.evaluationSeconds(evalSteps: evalSteps))
        return time
    }
}
