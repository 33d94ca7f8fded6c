import ArgumentParser
import LorikeetDevices
import LorikeetEngine
import LorikeetGround

/// Used by `make wheel` and `make gpu-bundle`, which put compiled kernels beside the program.
struct KernelsVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Compiles every kernel with NVRTC, without a card, into a folder `kernels` beside the program, where runs find it.",
        discussion: "Example: lorikeet kernels --output kernels --architectures 75,90", shouldDisplay: false)
    @Option(help: "The folder for the archives.") var output: String
    @Option(help: "Compute capabilities times ten, separated by commas.")
    var architectures = KernelArchive.architectures.map(String.init).joined(separator: ",")
    @OptionGroup var processor: ProcessorOptions

    func validate() throws {
        for name in architectures.split(separator: ",", omittingEmptySubsequences: false) where !(75...200).contains(Int(name) ?? 0) {
            throw ValidationError("--architectures has to be numbers from 75 on, separated by commas, not '\(name)'")
        }
    }

    func run() throws {
        let writer = try KernelArchiveWriter(DeviceOptions.cards)
        Screen.out("kernels: \(writer.compilerText)\n")
        for architecture in architectures.split(separator: ",").compactMap({ Int($0) }) {
            let modules = KernelVariants.modules(architecture: architecture)
            if let there = try? KernelArchive.find(architecture: architecture, in: [output]), there.compiler == writer.compilerVersion,
                modules.allSatisfy(there.holds)
            {
                Screen.out("kernels: \(there.path) is up to date\n")
                continue
            }
            let report = try writer.write(
                modules, architecture: architecture, to: output, threads: processor.threads == 0 ? Machine.coreCount() : processor.threads)
            let (bytes, packed) = (Units.formatBytes(Int64(report.bytes)), Units.formatBytes(Int64(report.packedBytes)))
            Screen.out("kernels: \(report.path): \(report.kernels) sources compiled, \(bytes), packed \(packed)\n")
        }
    }
}
