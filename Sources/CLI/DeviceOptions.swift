import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetRecipe

/// `--device` and what belongs to it, the same for every verb that computes.
struct DeviceOptions: ParsableArguments {
    @Option(help: "Where to compute: cpu, a card (cuda:0), or auto: the first card where there is one.") var device = "cpu"
    @OptionGroup var work: ComputeOptions

    func validate() throws {
        guard DeviceRequest.knows(device: device) else { throw ValidationError("--device has to be cpu, cuda:N or auto") }
    }

    /// Opens what was asked for.
    ///
    /// - Parameter more: keys of the verb's that only a card heeds.
    func compute(more: [String] = []) throws -> Compute { try work.open(device: device, more: more) }

    /// Opens what a recipe computes on.
    static func open(_ recipe: Recipe) throws -> Compute { try DeviceRequest(recipe).open(cards) }

    /// Where this user's environment says that NVIDIA's libraries are, and where compiled kernels are kept.
    static var cards: CUDADevice.Options {
        var options = CUDADevice.Options()
        options.cacheFolder = cacheFolder
        options.libraryFolders = variable("LORIKEET_CUDA_LIBRARIES").map { $0.split(separator: ":").map(String.init) } ?? []
        // Where this program was installed by pip, and where it puts packages of this user.
        let installed = Machine.executableFolder
        options.pythons =
            (installed.map { [$0 + "/.."] } ?? []) + ["VIRTUAL_ENV", "CONDA_PREFIX"].compactMap(variable)
            + (variable("HOME").map { [$0 + "/.local", $0 + "/.pyenv/versions/*"] } ?? [])
        options.kernelFolders = installed.map { [$0 + "/kernels", $0 + "/../share/lorikeet/kernels"] } ?? []
        return options
    }

    /// Compiled kernels and samples.
    static var cacheFolder: String? { CacheFolder.ofProcess }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 } }
}

/// How a device computes.
struct ComputeOptions: ParsableArguments {
    @Option(help: "auto, float32, float16 or bfloat16: the type of activations on a card.") var computeType = "auto"
    @Option(help: "Compute capability to build kernels for (75 is a T4's) [the card's own].") var gpuArch: Int?
    @OptionGroup var processor: ProcessorOptions

    func validate() throws {
        guard DeviceRequest.computeTypes.contains(computeType) else {
            throw ValidationError("--compute-type has to be auto, float32, float16 or bfloat16")
        }
    }

    /// Opens a device. Where `auto` finds no card, options for one get a warning.
    func open(device: String, more: [String] = []) throws -> Compute {
        let request = DeviceRequest(device: device, computeType: computeType, architecture: gpuArch, threads: processor.threads)
        let compute = try request.open(DeviceOptions.cards)
        Screen.warn(request.idleWarnings(on: compute, more: more))
        return compute
    }
}

/// How many threads of the processor work, the same for every verb that computes.
struct ProcessorOptions: ParsableArguments {
    @Option(help: "Processor threads; 0 takes as many as this process may use.") var threads = 0

    func validate() throws {
        guard (0...1024).contains(threads) else { throw ValidationError("--threads has to be between 0 and 1024") }
    }

    /// The processor with that many threads.
    var cpu: CPU { DeviceRequest(device: "cpu", threads: threads).processor }
}
