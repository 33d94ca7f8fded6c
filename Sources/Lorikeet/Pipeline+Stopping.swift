import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

/// What a run looks for between two pieces of its work: that it was asked to stop, and that its directory and its inputs are still there.
///
/// Training has its own way to stop, which saves a checkpoint. In the other steps nothing has to be saved: what is on the disk is whole at every
/// instant, and the same command goes on from it.
extension Pipeline {
    /// Whether the run is asked to stop, or its session ends: for work that asks between two of its operations.
    var isToEnd: @Sendable () -> Bool {
        let (asked, clock, end) = (environment.shouldStop, environment.clock, sessionEnd ?? .infinity)
        return { asked() || clock.uptime >= end }
    }

    /// - Throws: exit 75 where the run was asked to stop, or its session ends; exit 4 where its directory is gone.
    func requireGoing() throws {
        if environment.shouldStop() { throw stoppedEarly("stopped \(presentPlace)") }
        if let sessionEnd, environment.clock.uptime >= sessionEnd { throw stoppedEarly("the session ends \(presentPlace), which takes longer than planned,") }
        try target.requireInPlace()
    }

    /// - Throws: exit 4 where the run's directory is gone, or a file of the model was changed while it was in use.
    func requireSound(_ source: ModelSource) throws {
        try target.requireInPlace()
        try source.files.requireUnchanged()
    }

    /// Tells how much of the work called `name` is done, from 0 to 1.
    ///
    /// - Throws: as `requireGoing`.
    func told(_ name: String, _ share: Double) throws {
        reporter.progress(name, share)
        try requireGoing()
    }

    /// Does a step's work.
    ///
    /// - Throws: exit 75 where long work ended because `isToEnd` said so.
    func stoppable<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch is Interrupted {
            try requireGoing()
            throw stoppedEarly("stopped \(presentPlace)")
        }
    }

    /// Step 3, and wherever records are chosen anew: reads and formats them.
    func formatted(_ preparation: inout Preparation, _ compute: Compute) throws -> Dataset {
        try preparation.loadData(cacheFolder: environment.cacheFolder, files: environment.files, cpu: compute.cpu) { [self] in try requireGoing() }
    }

    private var presentPlace: String { present.number == 0 ? "before its first step" : "in step \(present.number) of \(Self.stepCount) (\(present.name))" }
}
