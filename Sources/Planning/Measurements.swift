import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetReporting

/// How long phases took on this machine's devices, as ratios to what the table of rates predicts, both without what other processes took of the processor.
/// They correct the minutes that are shown. Nothing that chooses how a run computes takes this type: choices follow from `TableModel`, so that a file of
/// measurements cannot change a run's bits.
package struct Measurements: Sendable, Equatable {
    /// What was measured together: ratios of another device or another model say little.
    package struct Subject: Sendable, Hashable {
        /// A card with its driver, architecture and type, or a processor with its threads.
        package var device: String
        /// The model's size and its storage.
        package var model: String

        package init(device: String, model: String) { (self.device, self.model) = (device, model) }

        /// A processor with more than two threads had another name in versions that priced memory at the rate of two threads: ratios that were measured against
        /// those predictions do not fit today's and are not found.
        ///
        /// - Parameter card: nil for the processor.
        package init(_ configuration: ModelConfiguration, _ storage: BaseStorage, card: AcceleratorProperties?, _ element: DeviceElement, _ cpu: CPU) {
            let parameters = configuration.weights.reduce(0) { $0 + $1.shape.reduce(1, *) }
            self.init(
                device: card.map { "\($0.name), \($0.driver), \($0.architecture), \(element.suffix)" }
                    ?? "\(Machine.cpuModel()), \(cpu.threads) threads" + (cpu.threads > 2 ? ", by threads" : ""),
                model: "\(parameters) parameters, \(storage.rawValue)")
        }

        package init(_ configuration: ModelConfiguration, _ storage: BaseStorage, _ compute: Compute) {
            self.init(configuration, storage, card: compute.device?.properties, compute.element, compute.cpu)
        }
    }

    private struct Entry: Sendable, Equatable {
        var subject: Subject
        /// By phase, the last few ratios of measured to predicted seconds.
        var ratios: [String: [Double]]
    }

    /// The subject that was measured last comes last.
    private var entries: [Entry] = []

    package init() {}

    /// Kept of each phase, and subjects in all.
    private static let (mostRatios, mostSubjects) = (5, 64)
    /// A longer file is not read.
    private static let mostBytes = 256 << 10
    /// Seconds below which a phase says nothing of a device's speed.
    package static let leastSeconds = 1.0
    /// A phase that others slowed by more says little of the device.
    package static let mostSlowdown = 4.0
    /// What a phase may differ from the table by; anything else was another kind of trouble.
    private static let plausible = 0.1...10.0

    /// The measured ratio of a phase: the median of the last few; nil where there is none.
    package func ratio(_ phase: String, _ subject: Subject) -> Double? {
        guard let ratios = entries.first(where: { $0.subject == subject })?.ratios[phase]?.sorted(), !ratios.isEmpty else { return nil }
        return ratios.count % 2 == 1 ? ratios[ratios.count / 2] : (ratios[ratios.count / 2 - 1] + ratios[ratios.count / 2]) / 2
    }

    /// - Parameters:
    ///   - predicted: seconds by the table, on a processor without other work.
    ///   - measured: seconds, divided by the factor by which others slowed the phase (`Slowdown`).
    package mutating func add(_ phase: String, predicted: Double, measured: Double, _ subject: Subject) {
        guard measured >= Self.leastSeconds, predicted > 0, case let ratio = measured / predicted, Self.plausible.contains(ratio) else { return }
        var entry = entries.first { $0.subject == subject } ?? Entry(subject: subject, ratios: [:])
        entries.removeAll { $0.subject == subject }
        entry.ratios[phase] = (entry.ratios[phase, default: []] + [ratio]).suffix(Self.mostRatios)
        entries = (entries + [entry]).suffix(Self.mostSubjects)
    }

    /// Adds how long the phases of a run took.
    ///
    /// - Parameters:
    ///   - plan: the run's, whose phases hold `Plan.slowdown`.
    ///   - steps: by numbered step, the measured seconds.
    ///   - parts: by phase that is a part of a step and has a clock of its own, the measured seconds, which its step's hold.
    ///   - slowdown: by which factors others slowed a numbered step while it ran.
    package mutating func add(_ plan: Plan, steps: [String: Double], parts: [String: Double], slowdown: (_ step: String) -> Slowdown, _ subject: Subject) {
        let own = parts.filter { part in PlannedPhase.named(part.key).measuredAs == part.key }
        for phase in PlannedPhase.all where phase.measuredAs == phase.name {
            // What is left of a step beside its parts.
            let measured = own[phase.name] ?? own.filter { PlannedPhase.named($0.key).step == phase.name }.reduce(steps[phase.name] ?? 0) { $0 - $1.value }
            let factor = slowdown(phase.step).of(phase.name)
            guard factor <= Self.mostSlowdown else { continue }
            let table = plan.phases.filter { PlannedPhase.named($0.name).measuredAs == phase.name }
                .reduce(0) { $0 + ($1.tableSeconds ?? $1.seconds) / plan.slowdown.of($1.name) }
            add(phase.name, predicted: table, measured: measured / factor, subject)
        }
    }

    // MARK: file

    // The file's key is `alone`; `ratios`, which an earlier version wrote, held others' work too and is not read.

    private static func path(_ folder: String) -> String { folder + "/predictions.json" }

    /// What a cache folder holds; nothing where it holds no such file.
    ///
    /// - Returns: with a warning where the file cannot be used.
    package static func read(from folder: String, files: any Files) -> (measurements: Measurements, warning: String?) {
        let path = path(folder)
        guard files.exists(path) else { return (Measurements(), nil) }
        func ignored(_ why: String) -> (Measurements, String?) { (Measurements(), "\(path) \(why) and is ignored: minutes are the table's") }
        guard let size = try? files.byteCount(of: path), size <= mostBytes else { return ignored("is not a file of at most 256 KiB") }
        guard let bytes = try? files.read(path), let list = try? JSON.parse(bytes, source: path)["entries"]?.array else { return ignored("is damaged") }
        var result = Measurements()
        for item in list.suffix(mostSubjects) {
            guard let device = item["device"]?.string, let model = item["model"]?.string else { return ignored("is damaged") }
            var entry = Entry(subject: Subject(device: device, model: model), ratios: [:])
            for (phase, values) in (item["alone"]?.object?.entries ?? []).map({ ($0.key, $0.value) }) {
                let ratios = (values.array ?? []).compactMap(\.double).filter { plausible.contains($0) }
                if !ratios.isEmpty { entry.ratios[phase] = ratios.suffix(mostRatios) }
            }
            result.entries.append(entry)
        }
        return (result, nil)
    }

    /// Makes the folder where it does not exist yet.
    ///
    /// - Throws: exit 4 where it cannot be written.
    package func write(to folder: String, files: any Files) throws {
        try files.createDirectory(folder)
        let list = entries.map { entry -> JSON in
            let ratios = entry.ratios.sorted { $0.key < $1.key }.map { ($0.key, JSON.array($0.value.map { .number($0) })) }
            return ["device": .string(entry.subject.device), "model": .string(entry.subject.model), "alone": .object(JSONObject(ratios))]
        }
        let json: JSON = ["entries": .array(list)]
        try files.writeDurably(json.serialized(pretty: true) + "\n", to: Self.path(folder))
    }
}

extension Plan {
    /// The plan with the seconds of phases as they were measured before on this device; its choices stay as they are.
    package func corrected(by measurements: Measurements, _ subject: Measurements.Subject) -> Plan {
        var plan = self
        plan.phases = phases.map { phase in
            guard let name = PlannedPhase.named(phase.name).measuredAs, let ratio = measurements.ratio(name, subject) else { return phase }
            var corrected = phase.scaled(by: ratio)
            corrected.tableSeconds = phase.seconds
            return corrected
        }
        return plan
    }
}
