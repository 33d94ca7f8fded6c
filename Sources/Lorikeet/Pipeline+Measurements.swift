import LorikeetGround
import LorikeetPlanning

extension Pipeline {
    /// By which factor other processes slowed each step of this process, as far as the processor does its work.
    func slowdowns(_ plan: Plan) -> [String: Double] {
        guard plan.choices.device == "cpu" else { return [:] }
        return use.mapValues { PlannedMachine.slowdown(shares: $0.after.slowdown(of: plan.choices.threads, since: $0.before)) }
    }

    /// Keeps how long this run's phases took for the next plan on this device. Only a run that one process did as a whole says how long a phase takes.
    func keepMeasurements(_ plan: Plan) throws {
        guard let folder = environment.cacheFolder, let measured, past.starts == 0 else { return }
        var took = Dictionary(seconds.map { ($0.name, $0.seconds) }, uniquingKeysWith: +)
        for part in ["exporting", "answering", "comparing"] {
            guard let own = parts[part] else { continue }
            took[part] = own
            took[Plan.step(of: part), default: 0] -= own
        }
        let slowdowns = slowdowns(plan)
        var (measurements, _) = Measurements.read(from: folder, files: environment.files)
        for name in ["formatting", "model loading", "training", "merging", "exporting", "testing", "answering", "comparing"] {
            let table = plan.phases.filter { Measurements.kind(of: $0.name) == name }.reduce(0) { $0 + ($1.tableSeconds ?? $1.seconds) }
            let slowdown = slowdowns[Plan.step(of: name)] ?? 1
            guard slowdown <= Measurements.mostSlowdown else { continue }
            measurements.add(name, predicted: table / plan.slowdown, measured: (took[name] ?? 0) / slowdown, measured)
        }
        do {
            try measurements.write(to: folder, files: environment.files)
        } catch let error as LorikeetError {
            try reporter.note("how long this run took could not be kept for the next plan: \(error.description)")
        }
    }
}
