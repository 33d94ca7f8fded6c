import COpenBLAS
import CThreads
import Glibc

/// The choice among OpenBLAS's kernels for kinds of processors.
///
/// OpenBLAS chooses by a table of processor models. For a model that is newer than the library it falls back to kernels for SSE3. Their vectors are
/// 128 bits wide and they have no fused multiply-add: a fourth of the arithmetic that an instruction does with AVX2, an eighth of that with AVX-512.
package enum BLASKernels {
    /// What the processor can do, as far as the choice depends on it.
    package struct Processor: Equatable, Sendable {
        package var avx2: Bool
        package var avx512: Bool
        package var avx512BFloat16: Bool
        package var isAMD: Bool

        package init(avx2: Bool, avx512: Bool = false, avx512BFloat16: Bool = false, isAMD: Bool = false) {
            (self.avx2, self.avx512, self.avx512BFloat16, self.isAMD) = (avx2, avx512, avx512BFloat16, isAMD)
        }

        static var this: Self {
            let features = Int(lorikeet_cpu_features())
            func has(_ bit: Int) -> Bool { features & bit != 0 }
            return Self(
                avx2: has(Int(LORIKEET_CPU_AVX2)), avx512: has(Int(LORIKEET_CPU_AVX512)), avx512BFloat16: has(Int(LORIKEET_CPU_AVX512_BF16)),
                isAMD: has(Int(LORIKEET_CPU_AMD)))
        }
    }

    /// OpenBLAS's names of its kernels for AVX-512, and for AVX2.
    private static let forAVX512: Set = ["SkylakeX", "Cooperlake", "SapphireRapids"]
    private static let forAVX2: Set = ["Haswell", "Zen", "Excavator"]

    /// The kernels to take in place of those that OpenBLAS chose; nil where its choice uses the widest instructions the processor has, or is of
    /// another architecture.
    package static func better(than chosen: String, on processor: Processor) -> String? {
        if processor.avx512 {
            if forAVX512.contains(chosen) { return nil }
            return processor.avx512BFloat16 ? "Cooperlake" : "SkylakeX"
        }
        guard processor.avx2, !forAVX2.contains(chosen) else { return nil }
        return processor.isAMD ? "Zen" : "Haswell"
    }

    /// Whether the bits of a product's result are the same wherever it stands: then a product may be cut anywhere. These kernels add a result's terms
    /// up one after the other. Those for AVX2 have two sums for some results, by their place in the block (docs/experiments.md).
    ///
    /// False in a build of OpenBLAS that is not the known one.
    package static func sumAlikeEverywhere(_ name: String) -> Bool { forAVX512.contains(name) && lorikeet_openblas_is_known(openblas_get_config()) != 0 }

    /// The kernels that the next product runs on.
    package static var inUse: String { openblas_get_corename().map { String(cString: $0) } ?? "unknown" }

    /// Once, before the first product. What the variable OPENBLAS_CORETYPE asks for is kept.
    static func choose() { chosen }

    private static let chosen: Void = {
        guard getenv("OPENBLAS_CORETYPE") == nil, let name = better(than: inUse, on: .this) else { return }
        use(name)
    }()

    /// Changes to the kernels of that name: before the first product, on one thread.
    package static func use(_ name: String) { lorikeet_openblas_use(name) }
}
