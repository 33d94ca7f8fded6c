import Glibc
import LorikeetDevices
import Testing

@Suite("OpenBLAS's kernels for a processor") struct BLASKernelsTests {
    typealias Processor = BLASKernels.Processor
    static let avx2 = Processor(avx2: true)
    static let avx512 = Processor(avx2: true, avx512: true)

    /// What OpenBLAS chose, on which processor, and what is taken in its place.
    @Test(
        arguments: [
            // A Xeon newer than the library: it falls back to SSE3.
            ("Prescott", Processor(avx2: true, avx512: true, avx512BFloat16: true), "Cooperlake"),
            ("Prescott", avx512, "SkylakeX"), ("Prescott", avx2, "Haswell"),
            ("Prescott", Processor(avx2: true, isAMD: true), "Zen"),
            // A newer processor of a family it knows by its older members.
            ("Nehalem", avx2, "Haswell"), ("Sandybridge", avx2, "Haswell"), ("Sandybridge", avx512, "SkylakeX"),
            ("Barcelona", Processor(avx2: true, avx512: true, avx512BFloat16: true, isAMD: true), "Cooperlake"),
            ("Haswell", avx512, "SkylakeX"), ("Zen", Processor(avx2: true, avx512: true, isAMD: true), "SkylakeX"),
            // Its choice is right.
            ("Haswell", avx2, nil), ("Zen", avx2, nil), ("Excavator", Processor(avx2: true, isAMD: true), nil),
            ("SkylakeX", avx512, nil), ("Cooperlake", avx512, nil), ("SapphireRapids", avx512, nil),
            // Nothing better is there: an older processor, or one of another architecture.
            ("Prescott", Processor(avx2: false), nil), ("Sandybridge", Processor(avx2: false), nil), ("neoversen1", Processor(avx2: false), nil),
        ] as [(String, Processor, String?)])
    func choice(chosen: String, processor: Processor, taken: String?) {
        #expect(BLASKernels.better(than: chosen, on: processor) == taken)
    }

    @Test func kernelsChange() async {
        await #expect(processExitsWith: .success) {
            func multiplies() -> Bool {
                let (a, b): ([Float], [Float]) = ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
                var c = [Float](repeating: 0, count: 4)
                CPU.serialGemm(m: 2, n: 2, k: 3, a: a, lda: 3, b: b, ldb: 2, beta: 0, c: &c, ldc: 2)
                return c == [58, 64, 139, 154]
            }
            for name in ["Haswell", "Prescott"] {
                BLASKernels.use(name)
                #expect(BLASKernels.inUse == name)
                #expect(multiplies())
            }
            // What a user asks for is kept; else the processor's own kernels are found again.
            let asked = getenv("OPENBLAS_CORETYPE") != nil
            #expect((CPU.blasKernels == "Prescott") == asked)
            #expect(multiplies())
        }
    }
}
