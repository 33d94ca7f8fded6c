import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

/// An event that training reports while it runs.
package enum TrainingEvent: Sendable {
    /// Every step.
    case step(TrainingProgress)
    /// Every `loggingSteps` steps and after the last: the mean loss and the speed since the last such event.
    case log(TrainingProgress)
    /// The mean loss over the trained tokens of `rows` held-out samples.
    case evaluation(step: Int, of: Int, epoch: Double, loss: Double, rows: Int, seconds: Double)
    /// A checkpoint was saved.
    case checkpoint(step: Int)
    /// A step went wrong.
    case trouble(TrainingTrouble)
    /// The time left is not that of the plan: from this step on there are others, and the learning rate's schedule is planned anew.
    case planned(StepCourse.Change, of: StepCourse)
    /// No evaluation was better for as long as the recipe says: training ends.
    case endedEarly(step: Int, best: BestEvaluation)
    case warning(String)
}

/// How training ended.
package struct TrainingResult: Sendable {
    package let state: TrainerState
    /// Steps that training has by the last plan, those that were dropped for want of time, and steps by the recipe.
    package let totalSteps: Int
    package let droppedSteps: Int
    package let plannedSteps: Int
    /// False where training was stopped early, with everything saved.
    package let finished: Bool
    /// Mean loss over all steps that had a finite one.
    package var trainLoss: Double { state.meanLoss }
    /// Tokens of the samples of this process's steps divided by the seconds that these took; nil where it did none.
    package var tokensPerSecond: Double? { state.seconds > 0 ? Double(state.timedTokens) / state.seconds : nil }
}

/// Training: sampler, steps, evaluation, checkpoints, stopping, and what is done about trouble. `TrainingLoop` does the work.
///
/// The order of samples and the dropout masks are functions of (seed, epoch, record), so a checkpoint holds all of the loop's state. Time comes from
/// `clock` and speed from `session`, both of which tests may replace: with a clock that the device moves, hours of training pass in milliseconds.
package struct Trainer {
    package let session: any TrainingDevice
    package let settings: TrainingSettings
    package let checkpoints: CheckpointStore
    package let clock: any Clock
    /// Asked before every step and while it is computed: true (after a signal) drops the step, saves a checkpoint and ends training.
    package let shouldStop: @Sendable () -> Bool
    package let report: (TrainingEvent) throws -> Void
    /// The time of the session; nil without a limit: then no step is dropped.
    package var time: TrainingTime?
    /// Settings or inputs are others than those of the checkpoint: what was decided about the old ones (lower rates, dropped steps, an early end) is void.
    package var hasChanged = false
    /// Sets the trained parameters on the host to what they began with; nil where training cannot go back further than to a checkpoint.
    package var restart: (() throws -> Void)?

    package init(
        session: any TrainingDevice, settings: TrainingSettings, checkpoints: CheckpointStore, clock: any Clock,
        shouldStop: @escaping @Sendable () -> Bool = { false }, report: @escaping (TrainingEvent) throws -> Void
    ) {
        self.session = session
        self.settings = settings
        self.checkpoints = checkpoints
        self.clock = clock
        self.shouldStop = shouldStop
        self.report = report
    }

    /// Unrecoverable steps in a row after which training goes back. A step is unrecoverable when it was skipped and no smaller loss scale could have
    /// helped.
    package static let maximumUnrecoverableSteps = 10
    /// Times that training goes back before it ends with an error.
    package static let maximumRewinds = 3

    /// Trains to the end, from the newest checkpoint if there is one.
    ///
    /// - Throws: exit 4 when a checkpoint cannot be written; exit 1 when gradients or losses stay not finite, or the loss stays high, after training
    ///   has gone back several times. Earlier checkpoints stay.
    package func run(train: SampleSet, validation: SampleSet) throws -> TrainingResult {
        session.interruption = shouldStop
        defer { session.interruption = nil }
        var loop = try TrainingLoop(self, train: train, validation: validation)
        return try loop.run()
    }
}
