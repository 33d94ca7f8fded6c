import LorikeetGround
import LorikeetJSON
import LorikeetReporting

/// The time that earlier processes spent on a run and the most memory they had, as its events tell it: a process that was killed counts until its last event.
struct PastWork {
    /// Processes.
    private(set) var starts = 0
    /// From the first to the last event of each.
    private(set) var seconds = 0.0
    /// The most memory that any of them had, of the process and on the card, in bytes; 0 where nothing is known.
    private(set) var peakProcessBytes: Int64 = 0
    private(set) var peakDeviceBytes: Int64 = 0
    /// Of a typical step: the median of all.
    private(set) var tokensPerSecond = 0.0
    private var phases: [RunLog.Phase] = []

    init() {}

    /// - Parameter events: the path of `events.jsonl`, which need not be there.
    /// - Throws: exit 4 where it cannot be read.
    init(events: String, files: any Files) throws {
        guard files.exists(events) else { return }
        let log = try files.read(events).withUnsafeBytes { RunLog(lines: $0) }
        (starts, seconds, phases) = (log.starts, log.seconds, log.phasesSoFar)
        let speeds = log.steps.map(\.tokensPerSecond).filter(\.isFinite).sorted()
        tokensPerSecond = speeds.isEmpty ? 0 : speeds[speeds.count / 2]
        let summary = log.result?["summary"]
        peakProcessBytes = Self.peak(log.states.map(\.processBytes), summary?["peak_rss_bytes"])
        peakDeviceBytes = Self.peak(log.states.map(\.gpuBytes), summary?["peak_gpu_bytes"])
    }

    private static func peak(_ readings: [Double], _ measured: JSON?) -> Int64 {
        Int64(exactly: (readings + [measured?.double ?? 0]).filter(\.isFinite).reduce(0, max).rounded()) ?? 0
    }

    /// Names and seconds of the phases, those of this process added.
    func phases(with own: [(name: String, seconds: Double)]) -> JSON {
        var all = phases.map { (name: $0.name, seconds: $0.seconds) }
        for phase in own {
            if let index = all.firstIndex(where: { $0.name == phase.name }) { all[index].seconds += phase.seconds } else { all.append(phase) }
        }
        return .object(JSONObject(all.map { ($0.name, .number($0.seconds)) }))
    }
}
