import LorikeetDevices

/// Every module that programs can launch on a card, whatever the model, its sizes and the recipe: what an archive of compiled kernels holds.
///
/// A source is compiled for each type of activations, and for each set of defines that its ops may ask for. Those are few: kernels take
/// sizes as arguments, except those below.
package enum KernelVariants {
    /// - Parameter architecture: compute capability times ten.
    /// - Returns: each module once; the longest to compile come early.
    package static func modules(architecture: Int) -> [KernelModule] {
        let sources = KernelSources.names.filter { $0.hasSuffix(".cu") }.map { String($0.dropLast(3)) }
        let modules = sources.flatMap { source in
            elements(source, architecture: architecture).flatMap { element in
                defines(source, element).map { KernelModule(source, element, defines: $0) }
            }
        }
        return modules.filter { slow.contains($0.source) } + modules.filter { !slow.contains($0.source) }
    }

    private static let slow: Set = ["attention", "activation", "lora", "norm_rows"]

    /// The element types that a source is launched with.
    private static func elements(_ source: String, architecture: Int) -> [DeviceElement] {
        // Tensor cores multiply 16-bit numbers.
        let all: [DeviceElement] = ["attention", "lora", "lora_back", "lora_up"].contains(source) ? [.f16, .bf16] : DeviceElement.allCases
        // Activations are bfloat16 from 8.0 on; files of it are loaded everywhere.
        return all.filter { $0 != .bf16 || architecture >= 80 || ["convert", "quantise"].contains(source) }
    }

    /// The sets of defines that a source is launched with.
    private static func defines(_ source: String, _ element: DeviceElement) -> [[String]] {
        let updates = Set(stride(from: 8, through: LowRankUpdate.mostRanks, by: 8).map(LowRankUpdate.defines)).sorted { $0[0] < $1[0] }
        switch source {
        case "attention": return AttentionShape.tunedSizes.flatMap { size in [false, true].map { AttentionShape.defines(size: size, capped: $0) } }
        case "lora_up": return updates
        case "activation": return [GatedActivation.plainDefines] + (element == .f32 ? [] : updates)
        case "decode": return (0..<CodesProduct.formats).map(CodesProduct.defines)
        default: return [[]]
        }
    }
}
