import COpenBLAS
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

    @Test func `products in a thread's own buffers have the bits of OpenBLAS's`() async {
        guard lorikeet_sgemm_keeps_buffers() != 0 else { return print("skipped: this OpenBLAS is not the version whose routines are known") }
        await #expect(processExitsWith: .success) {
            func values(_ count: Int, _ factor: Int) -> [Float] { (0..<count).map { Float(($0 &* factor) % 1009) / 1009 - 0.5 } }
            openblas_set_num_threads(1)
            for name in ["", "Haswell", "Prescott"] {
                if name != "" { BLASKernels.use(name) }
                // Growing, so that the buffer does too; the last ones have several blocks of every dimension.
                for (m, n, k) in [(130, 131, 65), (512, 576, 576), (1030, 333, 1200), (2600, 900, 35)] {
                    let (a, b) = (values(m * k, 7919), values(n * k, 104_729))
                    for (transposeA, transposeB, beta) in [(0, 0, 0), (0, 1, 1), (1, 0, 0.5), (1, 1, 0)] as [(Int32, Int32, Float)] {
                        var (own, library) = (values(m * n, 31), values(m * n, 31))
                        let (lda, ldb) = (Int32(transposeA == 1 ? m : k), Int32(transposeB == 1 ? k : n))
                        lorikeet_sgemm(transposeA, transposeB, Int32(m), Int32(n), Int32(k), 1.5, a, lda, b, ldb, beta, &own, Int32(n))
                        cblas_sgemm(
                            101, 111 + transposeA, 111 + transposeB, Int32(m), Int32(n), Int32(k), 1.5, a, lda, b, ldb, beta, &library, Int32(n))
                        #expect(own == library, "\(BLASKernels.inUse) \(m) \(n) \(k)")
                    }
                }
            }
        }
    }
}
