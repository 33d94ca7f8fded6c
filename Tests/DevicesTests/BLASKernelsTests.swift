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

    @Test func `the library's inner routines are called in the known build alone`() {
        #expect(lorikeet_openblas_is_known("OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Cooperlake MAX_THREADS=64") != 0)
        for other in [
            "OpenBLAS 0.3.20 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64", "OpenBLAS 0.3.21 NO_LAPACKE NO_AFFINITY Haswell",
            "OpenBLAS 0.3.21 NO_LAPACKE USE64BITINT DYNAMIC_ARCH NO_AFFINITY Haswell", "OpenBLAS 0.3.29 NO_LAPACKE DYNAMIC_ARCH Zen", "", nil,
        ] { #expect(lorikeet_openblas_is_known(other) == 0, "\(other ?? "none")") }
    }

    /// Also what an unknown build computes: there every product is the library's.
    @Test func `products in a thread's own buffers have the bits of OpenBLAS's, and so have those of an unknown build`() async {
        await #expect(processExitsWith: .success) {
            func values(_ count: Int, _ factor: Int) -> [Float] { (0..<count).map { Float(($0 &* factor) % 1009) / 1009 - 0.5 } }
            if lorikeet_sgemm_keeps_buffers() == 0 { print("this build of OpenBLAS is not known: no buffers of our own") }
            openblas_set_num_threads(1)
            for name in ["", "Haswell", "Prescott"] {
                if name != "" { BLASKernels.use(name) }
                // Below the size from which buffers are kept; growing, so that the buffer does too; several blocks of every dimension.
                for (m, n, k) in [(7, 9, 3000), (130, 131, 65), (512, 576, 576), (1030, 333, 1200), (2600, 900, 35)] {
                    let (a, b) = (values(m * k, 7919), values(n * k, 104_729))
                    for (transposeA, transposeB, alpha, beta) in [(0, 0, 1, 0), (0, 1, 1, 1), (0, 0, 1.5, 1), (1, 0, 1, 0.5), (1, 1, 1.5, 0)]
                        as [(Int32, Int32, Float, Float)]
                    {
                        let (lda, ldb) = (Int32(transposeA == 1 ? m : k), Int32(transposeB == 1 ? k : n))
                        var library = values(m * n, 31)
                        cblas_sgemm(
                            101, 111 + transposeA, 111 + transposeB, Int32(m), Int32(n), Int32(k), alpha, a, lda, b, ldb, beta, &library, Int32(n))
                        for keeps in [1, 0] as [Int32] {
                            lorikeet_sgemm_keep_buffers(keeps)
                            var own = values(m * n, 31)
                            lorikeet_sgemm(transposeA, transposeB, Int32(m), Int32(n), Int32(k), alpha, a, lda, b, ldb, beta, &own, Int32(n))
                            #expect(own == library, "\(BLASKernels.inUse) \(m) \(n) \(k), keeps \(keeps)")
                        }
                    }
                }
            }
        }
    }

    @Test func `a thread's buffer is given back when it ends`() async {
        await #expect(processExitsWith: .success) {
            /// Address space of this process in pages.
            func pages() -> Int {
                guard let file = fopen("/proc/self/statm", "r") else { return 0 }
                defer { fclose(file) }
                var line = [CChar](repeating: 0, count: 100)
                guard fgets(&line, 100, file) != nil else { return 0 }
                return strtol(line, nil, 10)
            }
            let values = [Float](repeating: 1, count: 512 * 64)
            func threadsComeAndGo(_ times: Int) {
                for _ in 0..<times {
                    CPU(threads: 3).parallelRanges(over: 3) { _, _ in
                        var product = [Float](repeating: 0, count: 512 * 64)
                        CPU.serialGemm(m: 512, n: 64, k: 64, a: values, lda: 64, b: values, ldb: 64, beta: 0, c: &product, ldc: 64)
                    }
                }
            }
            threadsComeAndGo(10)
            let before = pages()
            threadsComeAndGo(300)
            // 600 buffers of 0.5 MB and more would be 300 MB.
            #expect(before > 0 && (pages() - before) * Int(getpagesize()) < 100 << 20)
        }
    }
}
