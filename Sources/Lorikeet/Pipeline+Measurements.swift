import LorikeetDevices
import LorikeetGround
import LorikeetPlanning

extension Pipeline {
    /// By which factors other processes slowed a numbered step of this process, as far as the processor does its work.
    private func slowdown(_ plan: Plan, _ step: String) -> Slowdown {
        guard plan.choices.device == "cpu", let use = use[step] else { return Slowdown() }
        return Slowdown(threads: plan.choices.threads) { use.after.slowdown(of: $0, since: use.before) }
    }

    /// By step, the factor by which others slowed it; empty where a card does the work.
    func slowdowns(_ plan: Plan) -> [String: Double] {
        guard plan.choices.device == "cpu" else { return [:] }
        return Dictionary(uniqueKeysWithValues: use.keys.map { ($0, slowdown(plan, $0).of($0)) })
    }

    /// Keeps how long this run's phases took for the next plan on this device. Only a run that one process did as a whole says how long a phase takes.
    func keepMeasurements(_ plan: Plan) throws {
        guard let folder = environment.cacheFolder, let measured, past.starts == 0 else { return }
        var (measurements, _) = Measurements.read(from: folder, files: environment.files)
        measurements.add(
            plan, steps: Dictionary(seconds.map { ($0.name, $0.seconds) }, uniquingKeysWith: +), parts: parts, slowdown: { slowdown(plan, $0) }, measured)
        do {
            try measurements.write(to: folder, files: environment.files)
        } catch let error as LorikeetError {
            try reporter.note("how long this run took could not be kept for the next plan: \(error.description)")
        }
    }
}
