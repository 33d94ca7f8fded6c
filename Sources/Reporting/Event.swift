import LorikeetGround
import LorikeetJSON

/// Something that happened in a run, as sinks receive it.
package struct Event: Sendable, Equatable {
    /// docs/events.md has every kind with its fields.
    package enum Kind: String, Sendable, CaseIterable {
        case environment, phase, phaseEnd = "phase_end", data, step, log, evaluation, checkpoint, progress, warning, note, result, end
    }

    package let kind: Kind
    /// Seconds since 1970.
    package let time: Double
    package let fields: JSONObject

    package init(kind: Kind, time: Double, fields: JSONObject) {
        self.kind = kind
        self.time = time
        self.fields = fields
    }

    /// One line of `events.jsonl`.
    package var json: JSON {
        var object: JSONObject = ["event": .string(kind.rawValue), "time": .number((time * 1000).rounded() / 1000)]
        for entry in fields.entries { object[entry.key] = entry.value }
        return .object(object)
    }
}

/// Listens to events.
package protocol EventSink: AnyObject {
    func receive(_ event: Event) throws
    /// The warning with which the work goes on where the sink has failed; nil where a failure ends the work. A view of a run is none of its
    /// results: it can be made again, or done without.
    func warning(of failure: LorikeetError) -> String?
}

extension EventSink {
    package func warning(of failure: LorikeetError) -> String? { nil }
}

/// Stamps events with time and, for logged ones, the machine's state, and hands them to all sinks.
package final class Reporter {
    private let sinks: [any EventSink]
    private let clock: any Clock
    private let machineState: () -> JSONObject
    /// The machine's state as it was last looked at, and the clock's uptime then.
    private var state: (time: Double, fields: JSONObject) = (-.infinity, [:])
    /// Sinks whose failure has been reported.
    private var failed: Set<ObjectIdentifier> = []

    /// - Parameter machineState: fields such as CPU %, RAM used and total; merged into every phase, log and evaluation, and into a step a second
    ///   after the last event that had them. They are looked at anew after half a second: a use of processors over less says nothing.
    package init(sinks: [any EventSink], clock: any Clock, machineState: @escaping () -> JSONObject = { [:] }) {
        self.sinks = sinks
        self.clock = clock
        self.machineState = machineState
    }

    package func report(_ kind: Event.Kind, _ fields: JSONObject) throws {
        var all = fields
        let now = clock.uptime
        if kind == .log || kind == .evaluation || kind == .phase || kind == .step && now - state.time >= 1 {
            if now - state.time >= 0.5 { state = (now, machineState()) }
            for entry in state.fields.entries { all[entry.key] = entry.value }
        }
        let event = Event(kind: kind, time: clock.now, fields: all)
        for sink in sinks { try attempt(sink) { try sink.receive(event) } }
    }

    /// Runs a sink's work. The first failure of a sink that the work can do without is reported as a warning; its later ones are not reported.
    ///
    /// - Throws: what the other sinks throw.
    package func attempt(_ sink: any EventSink, _ body: () throws -> Void) throws {
        do { try body() } catch let failure as LorikeetError {
            guard let text = sink.warning(of: failure) else { throw failure }
            if failed.insert(ObjectIdentifier(sink)).inserted { try warning(text) }
        }
    }

    /// Tells how much of the work called `name` is done, from 0 to 1. Listeners that fail are left out: this is no part of a run's record.
    package func progress(_ name: String, _ share: Double) { try? report(.progress, ["name": .string(name), "share": .number(share)]) }

    package func note(_ text: String) throws { try report(.note, ["text": .string(text.withoutSecrets())]) }
    package func warning(_ text: String) throws { try report(.warning, ["text": .string(text.withoutSecrets())]) }

    /// Runs one of the numbered steps of a pipeline and times it.
    package func phase<Result>(_ number: Int, of count: Int, _ name: String, _ body: () throws -> Result) throws -> (result: Result, seconds: Double) {
        try report(.phase, ["number": JSON(number), "of": JSON(count), "name": .string(name)])
        let start = clock.uptime
        let result = try body()
        let seconds = clock.uptime - start
        try report(.phaseEnd, ["number": JSON(number), "of": JSON(count), "name": .string(name), "seconds": .number((seconds * 1000).rounded() / 1000)])
        return (result, seconds)
    }
}
