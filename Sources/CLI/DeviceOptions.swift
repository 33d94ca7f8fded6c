import ArgumentParser
import Glibc
import LorikeetDevices
import LorikeetEngine
import LorikeetGround

/// `--device` and what belongs to it, the same for every verb that computes.
struct DeviceOptions: ParsableArguments {
    @Option(help: "Where to compute: cpu, a card (cuda:0), or auto: the first card where there is one.") var device = "cpu"
    @Option(help: "auto, float32, float16 or bfloat16: the type of activations on a card.") var computeType = "auto"
    @Option(help: "Compute capability to build kernels for (75 is a T4's) [the card's own].") var gpuArch: Int?
    @Option(help: "Processor threads; 0 takes what the machine lends.") var threads = 0

    func validate() throws {
        guard ["cpu", "cuda", "auto"].contains(device) || device.wholeMatch(of: /cuda:\d{1,2}/) != nil else {
            throw ValidationError("--device has to be cpu, cuda:N or auto")
        }
        guard ["auto", "float32", "float16", "bfloat16"].contains(computeType) else {
            throw ValidationError("--compute-type has to be auto, float32, float16 or bfloat16")
        }
        guard (0...1024).contains(threads) else { throw ValidationError("--threads has to be between 0 and 1024") }
    }

    /// Opens what was asked for.
    func compute() throws -> Compute {
        let cpu = CPU(threads: threads > 0 ? threads : nil)
        guard device != "cpu" else { return Compute(cpu: cpu) }
        var options = CUDADevice.Options()
        options.ordinal = Int(device.split(separator: ":").last ?? "") ?? 0
        options.architecture = gpuArch
        options.cacheFolder = Self.cacheFolder
        options.libraryFolders = Self.variable("LORIKEET_CUDA_LIBRARIES").map { $0.split(separator: ":").map(String.init) } ?? []
        // Where `pip install` puts packages of this user.
        options.pythons =
            ["VIRTUAL_ENV", "CONDA_PREFIX"].compactMap(Self.variable) + (Self.variable("HOME").map { [$0 + "/.local", $0 + "/.pyenv/versions/*"] } ?? [])
        if device == "auto", !CUDADevice.isPresent(options) { return Compute(cpu: cpu) }
        let card = try CUDADevice(options)
        let element: DeviceElement =
            switch computeType {
            case "float32": .f32
            case "float16": .f16
            case "bfloat16": .bf16
            default: card.properties.architecture >= 80 ? .bf16 : .f16
            }
        guard element != .bf16 || card.properties.architecture >= 80 else {
            throw LorikeetError.input("bfloat16 needs compute capability 8.0", at: "--compute-type", mend: "say float16")
        }
        return Compute(cpu: cpu, device: card, element: element)
    }

    /// Compiled kernels: `XDG_CACHE_HOME/lorikeet`, else `~/.cache/lorikeet`.
    private static var cacheFolder: String? {
        guard let base = variable("XDG_CACHE_HOME") ?? variable("HOME").map({ $0 + "/.cache" }) else { return nil }
        mkdir(base, 0o755)
        return base + "/lorikeet"
    }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 } }
}
