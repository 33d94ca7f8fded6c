import LorikeetDevices
import LorikeetEngine
import LorikeetGround

extension DeviceModel {
    /// Rows, and outputs over all threads, of the product that is timed: 2 * 256 * 1,024 * k floating-point operations, in all.
    private static let (rows, outputs) = (256, 1024)
    /// Products that each thread does before it is asked whether more are needed, and how often at most.
    private static let (products, rounds) = (16, 4)
    /// Where nothing disturbs, the median of a thread's products takes at most so many times as long as the fastest.
    private static let calm = 1.1
    /// Bytes a second that a thread reads and writes between products, caches included, fitted to steps on two threads and on 16; and the fewest and the most
    /// threads that are counted.
    private static let (bytesOfThread, threadsOfMemory) = (4e9, 2...16)
    /// The share of the fastest product's rate that products of a training step reach: 0.92 and 0.93 in the forward and in the backward pass of steps of 64 to
    /// 512 rows of SmolLM2.
    private static let reached = 0.93

    /// Measures the rate at which this processor's threads do matrix products.
    ///
    /// Every thread does its part of the same product, y [256, n] = x [256, k] Wᵀ with 1,024 columns over all threads, sixteen times; where other processes,
    /// which take turns with it and empty its caches, make the median slower than the fastest by a tenth, up to 64 times. A product counts by its thread's own
    /// seconds (`CLOCK_THREAD_CPUTIME_ID`), in which the thread worked, not by the clock's. The rate in FLOP/s is
    ///
    ///     0.93 * 2 * 256 * 1024 * k / (seconds of the fastest product of the thread whose fastest is slowest)
    ///
    /// It takes about 30 ms on a quiet machine with two threads.
    ///
    /// - Parameter columns: the model's hidden size; k is that, between 64 and 4,096, so that the product has about the sizes of a step's.
    /// - Returns: with `shares`, 1 or more: the clock's seconds of all products, divided by those that the busiest thread worked. 2 says that the threads got half
    ///   of the processors that they wanted.
    /// - Throws: exit 4 when memory cannot be had.
    package static func measured(_ cpu: CPU, columns: Int, clock: any Clock = SystemClock()) throws -> (model: DeviceModel, shares: Double) {
        let (m, n, k) = (rows, outputs, max(64, min(columns, 4096)))
        let a = try Buffer(bytes: m * k * 4)
        let b = try Buffer(bytes: n * k * 4)
        let c = try Buffer(bytes: m * n * 4)
        let most = products * rounds
        // [threads, most]: the seconds of each thread's products.
        let buffer = try Buffer(bytes: cpu.threads * most * 8)
        let times = buffer.pointer(as: Double.self)
        func seconds(_ worker: Int, _ done: Int) -> [Double] { (0..<done).map { times[worker * most + $0] }.filter { $0 > 0 } }
        let start = clock.uptime
        var done = 0
        // The first calls find caches and threads cold.
        while done < most {
            for product in done..<done + products {
                // As `CPU.gemm` splits it.
                cpu.parallelRanges(over: n, grain: 16) { columns, worker in
                    let (start, first) = (Machine.threadSeconds(), columns.lowerBound)
                    CPU.serialGemm(
                        transposeB: true, m: m, n: columns.count, k: k, a: a.pointer(as: Float.self), lda: k, b: b.pointer(as: Float.self) + first * k,
                        ldb: k, c: c.pointer(as: Float.self) + first, ldc: n)
                    times[worker * most + product] = max(1e-9, Machine.threadSeconds() - start)
                }
            }
            done += products
            let isCalm = (0..<cpu.threads).allSatisfy { worker in
                let sorted = seconds(worker, done).sorted()
                return sorted.isEmpty || sorted[sorted.count / 2] <= calm * sorted[0]
            }
            if isCalm { break }
        }
        let elapsed = clock.uptime - start
        // A thread whose part was empty has no seconds.
        let worked = (0..<cpu.threads).map { seconds($0, done) }
        let busiest = worked.map { $0.reduce(0, +) }.max() ?? 0
        let best = worked.compactMap { $0.min() }.max() ?? 1
        let threads = min(max(min(cpu.threads, Machine.allProcessors()), threadsOfMemory.lowerBound), threadsOfMemory.upperBound)
        let model = DeviceModel(
            processorFlops: reached * 2 * Double(m * n * k) / best, bytesPerSecond: bytesOfThread * Double(threads))
        return (model, max(1, elapsed / max(1e-9, busiest)))
    }

    /// A typical processor, for runs on a card: it does little there, so its rates are not measured.
    package static func besideCard(threads: Int) -> DeviceModel { DeviceModel(processorFlops: 5e10 * Double(max(1, threads)), bytesPerSecond: 8e9) }
}
