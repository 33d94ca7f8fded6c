import ArgumentParser
import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON

struct DoctorVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Describes the machine; or checks a card's kernels, its memory after use, or reference numbers, each deviation beside its tolerance.",
        discussion: "Example: lorikeet doctor --reference Tests/Reference/llama")
    @Flag(help: "Every kernel of a card (--device, the first card if none is named) against the processor's.") var kernels = false
    @Option(help: "Open and use a card so many times, and look whether all memory comes back.") var leaks: Int?
    @Option(help: "A model folder with dumped reference numbers, or a folder with reference numbers of texts for a --model.") var reference: String?
    @Option(help: "The model that the numbers of a folder of texts belong to; or another form of a folder's model, such as a GGUF.") var model: String?
    @OptionGroup var place: DeviceOptions
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard [kernels, reference != nil, leaks != nil].count(where: \.self) < 2 else {
            throw ValidationError("give --kernels, --leaks or --reference, one at a time")
        }
        guard model == nil || reference != nil else { throw ValidationError("--model goes with --reference FOLDER") }
        guard (10...100_000).contains(leaks ?? 10) else { throw ValidationError("--leaks has to be between 10 and 100000") }
    }

    func run() throws {
        if kernels { return try checkKernels() }
        if let leaks { return try checkLeaks(rounds: leaks) }
        guard let reference else { return try describeMachine() }
        let compute = try place.compute()
        let report: CheckReport
        if TextReferenceCheck.fits(reference) {
            guard let model else { throw LorikeetError.input("a folder of texts needs a model", at: "--model", fix: "give --model MODEL") }
            report = try TextReferenceCheck(directory: reference, model: HubInputs.model(model), compute: compute).run()
        } else {
            report = try ReferenceCheck(directory: reference, model: model, compute: compute).run()
        }
        let programs = try checkPrograms(compute)
        if json {
            let all = [Self.object(programs)] + report.results.map(Self.object) + report.notTested.map(Self.object)
            Screen.out(JSON.array(all).serialized(pretty: true) + "\n")
        } else {
            Screen.out(Self.line(programs))
            for line in report.results.map(\.line) + report.notTested.map(\.line) + [report.summary] { Screen.out(line + "\n") }
        }
        if let failure = programs.error ?? Self.failure(report, at: reference) { throw failure }
    }

    static func object(_ result: Deviation) -> JSON {
        ["name": .string(result.name), "measured": .number(result.measured), "tolerance": .number(result.tolerance), "pass": .bool(result.passes)]
    }

    /// What was not tested has `pass` null, as in summary.json.
    static func object(_ part: CheckReport.NotTested) -> JSON {
        ["name": .string(part.name), "measured": .null, "tolerance": .null, "pass": .null, "reason": .string(part.reason)]
    }

    /// Exit 1 where a number is outside its tolerance or something was not tested; nil where everything passed.
    static func failure(_ report: CheckReport, at place: String) -> LorikeetError? {
        if let first = report.results.first(where: { !$0.passes }) {
            return LorikeetError(
                .checkFailed, "\(report.failed) of \(report.results.count) numbers are outside their tolerance, the first is \(first.name)", at: place)
        }
        guard let first = report.notTested.first else {
            return report.passes ? nil : LorikeetError(.checkFailed, "nothing was tested", at: place)
        }
        let more = report.notTested.count > 1 ? " (and \(report.notTested.count - 1) more)" : ""
        return LorikeetError(.checkFailed, "\(first.name) not tested\(more): \(first.reason)", at: place)
    }

    /// The card that is described, the first one where none is named; or the processor alone with the reason why no card can be used.
    private func described() -> (compute: Compute, problem: LorikeetError?) {
        let device = ["cpu", "auto"].contains(place.device) ? "cuda:0" : place.device
        do { return (try place.work.open(device: device), nil) } catch {
            return (Compute(cpu: place.work.processor.cpu), error as? LorikeetError ?? .machine("\(error)"))
        }
    }

    /// Prints what the machine is.
    ///
    /// - Throws: exit 4 or 2, after everything is printed, where a card was asked for that cannot be used.
    private func describeMachine() throws {
        let (compute, problem) = described()
        let cpu = compute.cpu
        let memory = Machine.totalMemoryBytes()
        let free = Machine.availableMemoryBytes()
        let disk = try RealFiles().freeBytes(at: ".")
        let programs = try checkPrograms(compute)
        let card = compute.device as? CUDADevice
        let trouble: [(String, JSON, String)] = problem.map { [("gpu_problem", .string($0.description), $0.description)] } ?? []
        let fields: [(String, JSON, String)] =
            [
                ("cpu", .string(Machine.cpuModel()), Machine.cpuModel()), ("threads", JSON(cpu.threads), "\(cpu.threads)"),
                ("blas_kernels", .string(CPU.blasKernels), CPU.blasKernels),
                ("blas_thread_safe", .bool(CPU.blasIsThreadSafe), CPU.blasIsThreadSafe ? "yes" : "no: one thread is used; install libopenblas-pthread-dev"),
                ("ram_total_bytes", .integer(memory), Units.formatBytes(memory)), ("ram_available_bytes", .integer(free), Units.formatBytes(free)),
                ("disk_free_bytes", .integer(disk), Units.formatBytes(disk)),
                KernelFields.field(DeviceOptions.cards.kernelFolders),
                (
                    "gpu", compute.device.map { .string($0.properties.name) } ?? .null,
                    compute.device.map { "\($0.properties.name), \($0.properties.driver)" } ?? "none"
                ),
            ] + (card.map(CardFields.fields) ?? trouble) + [("programs_verified", JSON(programs.passed), programs.summary)]
        if json {
            Screen.out(JSON.object(JSONObject(fields.map { ($0.0, $0.1) })).serialized(pretty: true) + "\n")
        } else {
            for field in fields { Screen.out(field.0 + String(repeating: " ", count: max(2, 22 - field.0.count)) + field.2 + "\n") }
        }
        if let failure = programs.error { throw failure }
        if let problem, place.device != "cpu", place.device != "auto" || CUDADevice.isPresent(DeviceOptions.cards) { throw problem }
    }
}
