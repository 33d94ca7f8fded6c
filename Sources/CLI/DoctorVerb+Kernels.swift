import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON

extension DoctorVerb {
    /// Every kernel in every type that the card has (or in `--compute-type` alone): each number beside its limit, then each kernel's worst.
    func checkKernels() throws {
        var place = place
        // The question is about a card: the first, where none is named.
        if place.device == "cpu" { place.device = "cuda:0" }
        let compute = try place.compute()
        guard let device = compute.device else {
            throw LorikeetError.input("kernels run on a card, and there is none", at: "--kernels", fix: "give --device cuda:0 on a machine with a card")
        }
        let checks = KernelChecks(device: device, cpu: compute.cpu)
        var (results, launched): ([KernelChecks.Result], Set<String>) = ([], [])
        let asksForAll = place.work.computeType == "auto"
        for element in asksForAll ? checks.elements : [compute.element] {
            launched.formUnion(
                try checks.run(element) {
                    results.append($0)
                    if !json { Screen.out($0.deviation.line + "\n") }
                })
        }
        let worst = KernelChecks.worst(results)
        let programs = try checkPrograms(compute)
        // Where one type is asked for, kernels that exist for other types only do not count as untested.
        let kernels = KernelSources.kernels + (device.properties.multipliesByWarpgroup ? KernelSources.warpgroupKernels : [])
        let notTested = asksForAll ? KernelChecks.notTested(launched: launched, kernels: kernels) : []
        let report = CheckReport(results: results.map(\.deviation), notTested: notTested)
        if json {
            func object(_ result: KernelChecks.Result) -> JSON {
                [
                    "kernel": .string(result.kernel), "type": .string(result.element.suffix), "name": .string(result.deviation.name),
                    // JSON has no infinity.
                    "measured": result.deviation.measured.isFinite ? .number(result.deviation.measured) : .null,
                    "tolerance": .number(result.deviation.tolerance), "pass": .bool(result.deviation.passes),
                ]
            }
            let all: JSON = [
                "device": .string(device.properties.name), "gpu_arch": JSON(device.properties.architecture),
                "programs_verified": JSON(programs.passed), "passed": JSON(results.count - report.failed), "failed": JSON(report.failed),
                "not_tested": .array(report.notTested.map(Self.object)),
                "worst": .array(worst.map(object)), "results": .array(results.map(object)),
            ]
            Screen.out(all.serialized(pretty: true) + "\n")
        } else {
            Screen.out("\nThe worst of each:\n" + worst.map { $0.deviation.line + "\n" }.joined())
            Screen.out(Self.line(programs))
            for line in report.notTested.map(\.line) + [report.summary] { Screen.out(line + "\n") }
        }
        if let failure = programs.error ?? Self.failure(report, at: device.properties.name) { throw failure }
    }
}
