import LorikeetGround
import LorikeetJSON

/// Rewrites `report.html` while a run goes on.
///
/// The page is written when a process begins and ends and, in between, when an event comes and enough time has passed: `seconds` for a step, a
/// fifth of that for other kinds, and in any case a hundred times what the last writing took, so that it never takes more than a hundredth of
/// the run's time. Where it cannot be written the run goes on, and the next writing is tried when its time comes.
package final class ReportFile: EventSink {
    private let clock: any Clock
    private let seconds: Double
    private var log = RunLog()
    private var write: ((RunLog) throws -> Void)?
    private var lastWrite = 0.0
    private var lastCost = 0.0
    /// The command that makes the page from the run's directory.
    private let remedy: String

    /// - Parameters:
    ///   - remedy: the command that makes the page from the run's directory, for the warning that it could not be written.
    ///   - seconds: the shortest time between two writings that steps cause.
    package init(clock: any Clock, seconds: Double, remedy: String) {
        self.clock = clock
        self.seconds = seconds
        self.remedy = remedy
    }

    package func warning(of failure: LorikeetError) -> String? {
        "report.html could not be written (\(failure.description)); nothing else depends on it, and '\(remedy)' makes it"
    }

    /// Begins to write, with the events that the file `events` holds by now.
    ///
    /// - Parameters:
    ///   - path: of the page.
    ///   - record: what the run's directory holds beside the events.
    package func open(path: String, events: String, files: any Files, record: @escaping (RunLog) throws -> RunRecord) throws {
        log = try files.read(events).withUnsafeBytes { RunLog(lines: $0) }
        write = { try files.writeDurably(ReportPage(runs: [try record($0)]).html(), to: path) }
        try rewrite()
    }

    package func receive(_ event: Event) throws {
        guard write != nil else { return }
        log.add(event.json)
        let pause = event.kind == .step || event.kind == .log ? seconds : seconds / 5
        guard event.kind == .end || clock.uptime - lastWrite >= max(pause, 100 * lastCost) else { return }
        try rewrite()
    }

    private func rewrite() throws {
        let start = clock.uptime
        defer {
            lastWrite = clock.uptime
            lastCost = lastWrite - start
        }
        try write?(log)
    }
}
