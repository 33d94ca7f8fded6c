import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// Where to compute, in the user's words.
package struct DeviceRequest: Sendable {
    /// `cpu`, a card (`cuda`, `cuda:1`), or `auto`: the first card where there is one.
    package var device: String
    /// `auto`, `float32`, `float16` or `bfloat16`: the type of activations on a card.
    package var computeType: String
    /// Compute capability to build kernels for; nil is the card's own.
    package var architecture: Int?
    /// Processor threads; 0 takes as many as this process may use.
    package var threads: Int

    package init(device: String, computeType: String = "auto", architecture: Int? = nil, threads: Int = 0) {
        self.device = device
        self.computeType = computeType
        self.architecture = architecture
        self.threads = threads
    }

    package init(_ recipe: Recipe) {
        self.init(device: recipe.device, computeType: recipe.computeType, architecture: recipe.gpuArchitecture, threads: recipe.threads)
    }

    package static let computeTypes = ["auto", "float32", "float16", "bfloat16"]

    /// Whether `device` has the form of a device's name; nothing is opened.
    package static func knows(device: String) -> Bool {
        ["cpu", "cuda", "auto"].contains(device) || device.wholeMatch(of: /cuda:\d{1,2}/) != nil
    }

    /// The processor with the threads that were asked for: for work that needs no card.
    package var processor: CPU { CPU(threads: threads) }

    /// Opens what was asked for.
    ///
    /// - Parameter options: where NVIDIA's libraries and compiled kernels are; the request's own words replace the rest.
    /// - Throws: exit 2 for a card that is not there or cannot do what is asked, exit 4 where it fails.
    package func open(_ options: CUDADevice.Options = .init()) throws -> Compute {
        do {
            return try opened(options)
        } catch let error as LorikeetError where error.kind == .other && error.exit != .doesNotFit {
            throw error.of(.device)
        }
    }

    private func opened(_ options: CUDADevice.Options) throws -> Compute {
        let cpu = processor
        guard device != "cpu" else { return Compute(cpu: cpu) }
        var options = options
        options.ordinal = Int(device.split(separator: ":").last ?? "") ?? 0
        options.architecture = architecture
        options.threads = threads
        if device == "auto", !CUDADevice.isPresent(options) { return Compute(cpu: cpu) }
        let card = try CUDADevice(options)
        return Compute(cpu: cpu, device: card, element: try element(for: card.properties))
    }

    /// What was asked of a card and has no effect on what was opened: the processor, where `auto` found no card.
    ///
    /// - Parameter more: keys of the caller's that only a card heeds.
    package func idleWarnings(on compute: Compute, more: [String] = []) -> [String] {
        guard device == "auto", compute.device == nil else { return [] }
        let asked = (["float16", "bfloat16"].contains(computeType) ? ["compute_type"] : []) + (architecture == nil ? [] : ["gpu_arch"])
        return (asked + more).map { "'\($0)' has no effect: there is no card, and the processor computes, in float32" }
    }

    /// The same for a recipe's keys.
    package static func idleWarnings(_ recipe: Recipe, on compute: Compute) -> [String] {
        DeviceRequest(recipe).idleWarnings(on: compute, more: (recipe.gpuMemoryBytes == nil ? [] : ["gpu_memory"]) + (recipe.tune ? ["tune"] : []))
    }

    /// A card of the table as a plan needs it: no card, driver or library is opened.
    ///
    /// - Parameter name: of `CardEntry.all`.
    /// - Throws: exit 2 for an unknown name, or a card that cannot do what is asked.
    package func card(named name: String, gpuMemory: Int64?) throws -> PlannedCard {
        guard let entry = CardEntry.all.first(where: { $0.name == name.lowercased() }) else {
            throw LorikeetError.input(
                "there is no card '\(name)' in the table", at: "--as", fix: "give one of \(CardEntry.all.map(\.name).joined(separator: ", "))")
        }
        let wanted = architecture ?? entry.capability
        guard wanted <= entry.capability else {
            throw LorikeetError.input(
                "\(entry.title) cannot run code for compute capability \(wanted)", at: "--gpu-arch", fix: "take \(entry.capability) at most")
        }
        let properties = entry.properties(architecture: wanted)
        return PlannedCard(entry, properties, try element(for: properties), gpuMemory: gpuMemory)
    }

    /// The type of activations on a card.
    ///
    /// - Throws: exit 2 for bfloat16 on a card that has none.
    package func element(for card: AcceleratorProperties) throws -> DeviceElement {
        let element: DeviceElement =
            switch computeType {
            case "float32": .f32
            case "float16": .f16
            case "bfloat16": .bf16
            default: card.architecture >= 80 ? .bf16 : .f16
            }
        guard element != .bf16 || card.architecture >= 80 else {
            throw LorikeetError.input("bfloat16 needs compute capability 8.0", at: "--compute-type", fix: "say float16")
        }
        return element
    }
}
