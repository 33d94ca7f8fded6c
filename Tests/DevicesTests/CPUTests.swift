import Dispatch
import Testing

@testable import LorikeetDevices

struct CPUTests {
    @Test(arguments: [1, 2, 3, 7], [0, 1, 5, 64, 1001])
    func `every index is visited once, in ranges that follow from the count`(threads: Int, count: Int) {
        let cpu = CPU(threads: threads)
        let visits = UnsafeMutablePointer<Int>.allocate(capacity: max(1, count))
        defer { visits.deallocate() }
        visits.update(repeating: 0, count: count)
        for _ in 0..<20 { cpu.parallel(over: count) { visits[$0] += 1 } }
        #expect((0..<count).allSatisfy { visits[$0] == 20 })
    }

    @Test func `ranges begin at multiples of the grain`() {
        let cpu = CPU(threads: 2)
        let starts = UnsafeMutablePointer<Int>.allocate(capacity: 2)
        defer { starts.deallocate() }
        starts.update(repeating: -1, count: 2)
        cpu.parallelRanges(over: 100, grain: 16) { range, worker in starts[worker] = range.lowerBound }
        #expect(starts[0] == 0 && starts[1] % 16 == 0)
    }

    @Test(arguments: [(1, 1, 1), (3, 5, 7), (33, 17, 40), (128, 3, 64)], [false, true])
    func `a product is that of doubles, transposed or not`(size: (Int, Int, Int), transposed: Bool) throws {
        let (m, n, k) = size
        let a = (0..<m * k).map { Float(($0 * 37) % 19) / 10 - 0.9 }
        let b = (0..<n * k).map { Float(($0 * 53) % 23) / 10 - 1.1 }
        for threads in [1, 2] {
            var c = [Float](repeating: 0.5, count: m * n)
            CPU(threads: threads).gemm(
                transposeA: transposed, transposeB: transposed, m: m, n: n, k: k, alpha: 2, a: a, lda: transposed ? m : k, b: b,
                ldb: transposed ? k : n, beta: 1, c: &c, ldc: n)
            for i in 0..<m {
                for j in 0..<n {
                    var sum = 0.5
                    for l in 0..<k { sum += 2 * Double(transposed ? a[l * m + i] : a[i * k + l]) * Double(transposed ? b[j * k + l] : b[l * n + j]) }
                    #expect(abs(Double(c[i * n + j]) - sum) < 1e-4)
                }
            }
        }
    }

    @Test func `a side thread works at the same time, and has ended when the call returns`() throws {
        let (here, there) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        var (side, body) = (0, 0)
        try SideThread.run {
            here.signal()
            there.wait()
            side = 1
        } meanwhile: {
            // Either waits for the other.
            here.wait()
            there.signal()
            body = 1
        }
        #expect(side == 1 && body == 1)
    }

    @Test func `pieces of scratch memory that are in use at the same time are different ones`() throws {
        let scratch = Scratch()
        let first = try scratch.with(bytes: 100) { outer in
            outer.storeBytes(of: 1, as: Int.self)
            try scratch.with(bytes: 1 << 20) { inner in
                #expect(inner != outer)
                (inner + (1 << 20) - 8).storeBytes(of: 2, as: Int.self)
            }
            #expect(outer.load(as: Int.self) == 1)
            return outer
        }
        // Used again.
        #expect(try scratch.with(bytes: 50) { $0 } == first)
    }

    @Test func `two threads in the library at once give right numbers`() {
        // OpenBLAS's build without locks fails this within a few rounds.
        let cpu = CPU(threads: 2)
        let (m, n, k) = (96, 64, 48)
        let a = (0..<m * k).map { Float($0 % 7) }
        let b = (0..<n * k).map { Float($0 % 5) }
        var first = [Float](repeating: 0, count: m * n)
        CPU.serialGemm(m: m, n: n, k: k, a: a, lda: k, b: b, ldb: n, c: &first, ldc: n)
        for _ in 0..<200 {
            var results = [[Float]](repeating: [Float](repeating: 0, count: m * n), count: 2)
            results.withUnsafeMutableBufferPointer { results in
                let base = results.baseAddress
                cpu.parallel(over: 2) { worker in
                    base?[worker].withUnsafeMutableBufferPointer { out in
                        if let to = out.baseAddress { CPU.serialGemm(m: m, n: n, k: k, a: a, lda: k, b: b, ldb: n, c: to, ldc: n) }
                    }
                }
            }
            #expect(results[0] == first && results[1] == first)
        }
    }

    @Test func `a buffer is zero and aligned`() throws {
        let buffer = try Buffer(bytes: 3_000_001)
        #expect(UInt(bitPattern: buffer.base) % 64 == 0 && buffer.byteCount == 3_000_001)
        #expect((0..<3_000_001).allSatisfy { buffer.pointer(as: UInt8.self)[$0] == 0 })
    }

    @Test func `memory that no machine has is an error`() {
        #expect(throws: (any Error).self) { try Buffer(bytes: 1 << 60) }
    }

    @Test func `the machine's limits are plausible`() {
        #expect(Machine.coreCount() >= 1 && Machine.totalMemoryBytes() > 1 << 28)
        #expect(Machine.availableMemoryBytes() <= Machine.totalMemoryBytes())
        // Read before the peak: other tests take memory meanwhile.
        let resident = Machine.residentBytes()
        #expect(resident > 1 << 20 && Machine.peakResidentBytes() >= resident)
        #expect(Machine.processAge() >= 0 && !Machine.cpuModel().isEmpty)
    }
}
