import ArgumentParser
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetJSON

struct DoctorVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "The machine; or a folder of reference numbers against this engine's, each deviation beside its tolerance.",
        discussion: "Example: lorikeet doctor --reference Tests/Reference/llama")
    @Option(help: "A model folder with dumped numbers, or a folder of texts for a --model.") var reference: String?
    @Option(help: "The model that a folder of texts speaks of.") var model: String?
    @Option(help: "Where to compute.") var device = "cpu"
    @Option(help: "Processor threads; 0 takes what the machine lends.") var threads = 0
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard ["cpu", "auto"].contains(device) else { throw ValidationError("--device has to be cpu: this build computes on the processor") }
        guard (0...1024).contains(threads) else { throw ValidationError("--threads has to be between 0 and 1024") }
    }

    func run() throws {
        let cpu = CPU(threads: threads > 0 ? threads : nil)
        guard let reference else { return try describeMachine(cpu) }
        let results: [Deviation]
        if TextReferenceCheck.fits(reference) {
            guard let model else { throw LorikeetError.input("a folder of texts needs a model", at: "--model", mend: "give --model MODEL") }
            results = try TextReferenceCheck(directory: reference, model: model, cpu: cpu).run()
        } else {
            results = try ReferenceCheck(directory: reference, cpu: cpu).run { Screen.out("skip  \($0)\n") }
        }
        for result in results where !json { Screen.out(result.line + "\n") }
        let failed = results.count { !$0.passes }
        if json {
            let list = results.map {
                ["name": .string($0.name), "measured": .number($0.measured), "tolerance": .number($0.tolerance), "pass": .bool($0.passes)] as JSON
            }
            Screen.out(JSON.array(list).serialized(pretty: true) + "\n")
        } else {
            Screen.out("\(results.count - failed) passed, \(failed) failed\n")
        }
        if failed > 0 { throw LorikeetError(.checkFailed, "\(failed) of \(results.count) numbers are outside their tolerance", at: reference) }
    }

    private func describeMachine(_ cpu: CPU) throws {
        let memory = Machine.totalMemoryBytes()
        let free = Machine.availableMemoryBytes()
        let disk = try RealFiles().freeBytes(at: ".")
        let fields: [(String, JSON, String)] = [
            ("cpu", .string(Machine.cpuModel()), Machine.cpuModel()), ("threads", JSON(cpu.threads), "\(cpu.threads)"),
            ("blas_kernels", .string(CPU.blasKernels), CPU.blasKernels),
            ("blas_thread_safe", .bool(CPU.blasIsThreadSafe), CPU.blasIsThreadSafe ? "yes" : "no: one thread is used; install libopenblas-pthread-dev"),
            ("ram_total_bytes", .integer(memory), Units.formatBytes(memory)), ("ram_available_bytes", .integer(free), Units.formatBytes(free)),
            ("disk_free_bytes", .integer(disk), Units.formatBytes(disk)), ("gpu", .null, "none: this build computes on the processor"),
        ]
        if json {
            Screen.out(JSON.object(JSONObject(fields.map { ($0.0, $0.1) })).serialized(pretty: true) + "\n")
        } else {
            for field in fields { Screen.out(field.0 + String(repeating: " ", count: max(2, 22 - field.0.count)) + field.2 + "\n") }
        }
    }
}
