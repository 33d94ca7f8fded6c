import LorikeetGround
import LorikeetJSON

/// What `events.jsonl` tells of a run, gathered event by event: in a running process, or from the file.
///
/// Steps that were done again after a kill count once, as they were done last.
package struct RunLog: Sendable {
    /// One optimiser step. Numbers that an event lacks, or that are not finite, are NaN.
    package struct Step: Sendable {
        package var step: Int
        package var loss: Double
        package var learningRate: Double
        package var gradientNorm: Double
        package var lossScale: Double
        package var tokensPerSecond: Double
        package var shareOfLimit: Double
    }

    /// The machine at a moment; `seconds` of work since the run began, without the time between processes.
    package struct State: Sendable {
        package var seconds: Double
        package var cpuPercent: Double
        package var ramBytes: Double
        package var processBytes: Double
        package var gpuBytes: Double
    }

    package struct Evaluation: Sendable {
        package var step: Int
        package var loss: Double
        package var rows: Int
    }

    package struct Phase: Sendable, Equatable {
        package var name: String
        package var seconds: Double
    }

    package private(set) var steps: [Step] = []
    package private(set) var states: [State] = []
    package private(set) var evaluations: [Evaluation] = []
    /// In the order of the pipeline; the seconds of all processes together.
    package private(set) var phases: [Phase] = []
    /// Each once, the first 200.
    package private(set) var warnings: [String] = []
    /// Steps that changed no parameter.
    package private(set) var skippedSteps: [Int] = []
    /// The last event of these kinds.
    package private(set) var environment: JSON?
    package private(set) var data: JSON?
    package private(set) var result: JSON?
    package private(set) var progress: JSON?
    /// nil while a process works on the run, and after a kill.
    package private(set) var end: JSON?
    /// Processes that worked on the run.
    package private(set) var starts = 0
    /// Lines that are not an event.
    package private(set) var damagedLines = 0
    /// Seconds since 1970 of the first and the last event.
    package private(set) var firstTime: Double?
    package private(set) var lastTime = 0.0
    /// Totals of the card's and the machine's memory; 0 where not known.
    package private(set) var gpuTotalBytes = 0.0
    package private(set) var ramTotalBytes = 0.0

    /// Seconds of work before the present process, and the time of the present one's first event.
    private var secondsBefore = 0.0
    private var processStart = 0.0
    /// The phase that has begun, and when.
    private var open: (name: String, time: Double)?

    package init() {}

    /// The lines of an `events.jsonl`; lines that are no events are counted and left out.
    package init(lines: UnsafeRawBufferPointer) {
        for line in lines.split(separator: UInt8(ascii: "\n")) where !line.isEmpty {
            guard let event = try? JSON.parse(UnsafeRawBufferPointer(rebasing: line), source: "events.jsonl"), event["event"]?.string != nil else {
                damagedLines += 1
                continue
            }
            add(event)
        }
    }

    /// Seconds of work, over all processes.
    package var seconds: Double { secondsBefore + max(0, lastTime - processStart) }

    /// Phases with the one that is not finished, or was cut off.
    package var phasesSoFar: [Phase] {
        guard let open else { return phases }
        var copy = self
        copy.close(open.name, seconds: max(0, lastTime - open.time))
        return copy.phases
    }
    /// The name of the phase that has begun and not ended.
    package var openPhase: String? { open?.name }

    /// Adds an event as a line of the file holds it; kinds that are not known are left out.
    package mutating func add(_ event: JSON) {
        guard let kind = event["event"]?.string.flatMap(Event.Kind.init(rawValue:)), let time = event["time"]?.double, time.isFinite else { return }
        if firstTime == nil { (firstTime, processStart, lastTime) = (time, time, time) }
        if kind == .phase, event["number"]?.int == 1 { begin(at: time) }
        lastTime = max(lastTime, time)
        addState(event)
        switch kind {
        case .environment: environment = event
        case .data: data = event
        case .result: result = event
        case .end:
            end = event
            if let open { close(open.name, seconds: time - open.time) }
            open = nil
        case .phase: open = (event["name"]?.string ?? "?", time)
        case .phaseEnd:
            close(event["name"]?.string ?? "?", seconds: event["seconds"]?.double ?? 0)
            open = nil
        case .step: addStep(event)
        case .evaluation:
            evaluations.append(Evaluation(step: event["step"]?.int ?? 0, loss: Self.number(event, "eval_loss"), rows: event["rows"]?.int ?? 0))
        case .warning: addWarning(event)
        case .log, .checkpoint, .progress, .note: break
        }
    }

    private static func number(_ event: JSON, _ key: String) -> Double { event[key]?.double ?? .nan }

    /// A process begins; what an earlier one was in the middle of was cut off at its last event.
    private mutating func begin(at time: Double) {
        if let open { close(open.name, seconds: max(0, lastTime - open.time)) }
        secondsBefore += max(0, lastTime - processStart)
        (open, end, processStart) = (nil, nil, time)
        lastTime = max(lastTime, time)
        starts += 1
    }

    private mutating func close(_ name: String, seconds: Double) {
        guard seconds.isFinite, seconds >= 0 else { return }
        if let index = phases.firstIndex(where: { $0.name == name }) {
            phases[index].seconds += seconds
        } else {
            phases.append(Phase(name: name, seconds: seconds))
        }
    }

    private mutating func addState(_ event: JSON) {
        guard let ram = event["ram_used_bytes"]?.double else { return }
        gpuTotalBytes = max(gpuTotalBytes, event["gpu_total_bytes"]?.double ?? 0)
        ramTotalBytes = max(ramTotalBytes, event["ram_total_bytes"]?.double ?? 0)
        states.append(
            State(
                seconds: seconds, cpuPercent: Self.number(event, "cpu_percent"), ramBytes: ram, processBytes: Self.number(event, "rss_bytes"),
                gpuBytes: Self.number(event, "gpu_used_bytes")))
    }

    private mutating func addStep(_ event: JSON) {
        guard let step = event["step"]?.int, step > 0 else { return }
        // After a kill, or a return to a checkpoint, steps are done again.
        while let last = steps.last, last.step >= step { steps.removeLast() }
        while let last = evaluations.last, last.step >= step { evaluations.removeLast() }
        while let last = skippedSteps.last, last >= step { skippedSteps.removeLast() }
        progress = event
        steps.append(
            Step(
                step: step, loss: Self.number(event, "loss"), learningRate: Self.number(event, "learning_rate"),
                gradientNorm: Self.number(event, "grad_norm"), lossScale: Self.number(event, "loss_scale"),
                tokensPerSecond: Self.number(event, "tokens_per_second"), shareOfLimit: Self.number(event, "share_of_limit")))
    }

    private mutating func addWarning(_ event: JSON) {
        // Older versions wrote steps into warnings of skipped ones alone.
        if let step = event["step"]?.int, event["planned_steps"] == nil, event["action"]?.string ?? "skipped" == "skipped" { skippedSteps.append(step) }
        guard let text = event["text"]?.string, warnings.count < 200, !warnings.contains(text) else { return }
        warnings.append(text)
    }
}
