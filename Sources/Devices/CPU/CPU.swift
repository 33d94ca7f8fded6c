import COpenBLAS
import CThreads
import Glibc
import LorikeetGround
import Synchronization

/// The processor: a fixed set of worker threads and matrix products on them.
///
/// Work is always split the same way for the same thread count, so results are the same from run to run.
package final class CPU: Sendable {
    /// Workers, the calling thread included.
    package let threads: Int
    /// Whether products may be cut in grids.
    private let cutsAnywhere: Bool
    private let pool: UInt
    private let question = Mutex<(@Sendable () -> Bool)?>(nil)
    private let onUnit: (@Sendable (_ unit: Int, _ worker: Int) -> Void)?

    /// - Parameters:
    ///   - threads: 0 takes the cores that the process may use (by affinity and control group). It has no default: the user's number has
    ///     to come here from every verb.
    ///   - cutsAnywhere: whether products may be cut in grids: for tests. nil allows it where it changes no bits.
    ///   - onUnit: called by a worker before each unit of `parallelUnits`: for tests.
    package init(threads: Int, cutsAnywhere: Bool? = nil, onUnit: (@Sendable (_ unit: Int, _ worker: Int) -> Void)? = nil) {
        self.onUnit = onUnit
        BLASKernels.choose()
        self.cutsAnywhere = cutsAnywhere ?? BLASKernels.sumAlikeEverywhere(BLASKernels.inUse)
        // Its own threads would fight ours over the same cores.
        openblas_set_num_threads(1)
        let wanted = Self.blasIsThreadSafe ? threads > 0 ? threads : max(1, Machine.coreCount()) : 1
        let created = lorikeet_pool_create(wanted)
        pool = UInt(bitPattern: created)
        self.threads = created == nil ? 1 : wanted
    }

    /// Asked between two pieces of long work on files, from any thread: a tensor that is loaded, a block of rows that is written. True ends that work
    /// with `Interrupted`. nil lets all work come to its end. What a session computes has a question of its own (`Session.interruption`).
    package var interruption: (@Sendable () -> Bool)? {
        get { question.withLock { $0 } }
        set { question.withLock { $0 = newValue } }
    }

    /// - Throws: `Interrupted` where `interruption` says so.
    package func requireGoing() throws { if interruption?() == true { throw Interrupted() } }

    /// Workers of their own for a part of the work that runs beside others, whose threads together are not more than this one's.
    package func part(threads: Int) -> CPU { CPU(threads: threads, cutsAnywhere: cutsAnywhere) }

    deinit { lorikeet_pool_destroy(OpaquePointer(bitPattern: pool)) }

    /// Runs `body` for each index; contiguous ranges go to workers.
    package func parallel(over count: Int, _ body: (_ index: Int) -> Void) {
        parallelRanges(over: count) { range, _ in for index in range { body(index) } }
    }

    /// Splits 0..<count into at most `threads` contiguous ranges, cut at multiples of `grain`, and runs `body` once on each.
    ///
    /// Parallel work started inside `body`, or by a second thread meanwhile, runs the same ranges one after the other on its own
    /// thread. Scratch memory by `worker` must then belong to that call alone.
    package func parallelRanges(over count: Int, grain: Int = 1, _ body: (_ range: Range<Int>, _ worker: Int) -> Void) {
        guard count > 0 else { return }
        let grains = (count + grain - 1) / grain
        guard threads > 1, grains > 1, let pool = OpaquePointer(bitPattern: pool) else {
            body(0..<count, 0)
            return
        }
        let threads = threads
        withoutActuallyEscaping(body) { body in
            var job: (Int) -> Void = { worker in
                let first = min(count, grains * worker / threads * grain)
                let end = min(count, grains * (worker + 1) / threads * grain)
                if first < end { body(first..<end, worker) }
            }
            withUnsafeMutablePointer(to: &job) { pointer in
                lorikeet_pool_run(
                    pool,
                    { context, worker in
                        guard let context else { return }
                        context.assumingMemoryBound(to: ((Int) -> Void).self).pointee(worker)
                    }, pointer)
            }
        }
    }

    /// Runs `body` once for each unit of 0..<count; a worker takes the next one as soon as it has done its last.
    ///
    /// For units of unequal work. Which worker does a unit differs from run to run, so results must not depend on it. Units are taken in their
    /// order: one may wait for those before it (see `Turns`), never for those behind. Started inside parallel work, all run on its own thread.
    package func parallelUnits(_ count: Int, _ body: (_ unit: Int, _ worker: Int) -> Void) {
        let next = Atomic<Int>(0)
        let onUnit = onUnit
        parallelRanges(over: min(threads, count)) { _, worker in
            while true {
                let unit = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard unit < count else { return }
                onUnit?(unit, worker)
                body(unit, worker)
            }
        }
    }

    /// The grid in which `gemm` deals a product of these sizes to the workers; nil where it splits the longer of m and n.
    package func grid(m: Int, n: Int, k: Int) -> ProductGrid? { cutsAnywhere ? .best(m: m, n: n, k: k, threads: threads) : nil }

    /// C [m, n] = alpha * op(A) op(B) + beta * C, float32 row-major, split over the workers in a grid or along the longer of m and n.
    package func gemm(
        transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1, a: UnsafePointer<Float>, lda: Int,
        b: UnsafePointer<Float>, ldb: Int, beta: Float = 0, c: UnsafeMutablePointer<Float>, ldc: Int
    ) {
        if let grid = grid(m: m, n: n, k: k) {
            parallel(over: grid.count) { number in
                let block = grid.block(number, m: m, n: n)
                let (row, column) = (block.rows.lowerBound, block.columns.lowerBound)
                Self.serialGemm(
                    transposeA: transposeA, transposeB: transposeB, m: block.rows.count, n: block.columns.count, k: k, alpha: alpha,
                    a: a + (transposeA ? row : row * lda), lda: lda, b: b + (transposeB ? column * ldb : column), ldb: ldb, beta: beta,
                    c: c + row * ldc + column, ldc: ldc)
            }
        } else if n >= m {
            parallelRanges(over: n, grain: 16) { columns, _ in
                let first = columns.lowerBound
                Self.serialGemm(
                    transposeA: transposeA, transposeB: transposeB, m: m, n: columns.count, k: k, alpha: alpha, a: a, lda: lda,
                    b: b + (transposeB ? first * ldb : first), ldb: ldb, beta: beta, c: c + first, ldc: ldc)
            }
        } else {
            parallelRanges(over: m, grain: 16) { rows, _ in
                let first = rows.lowerBound
                Self.serialGemm(
                    transposeA: transposeA, transposeB: transposeB, m: rows.count, n: n, k: k, alpha: alpha,
                    a: a + (transposeA ? first : first * lda), lda: lda, b: b, ldb: ldb, beta: beta, c: c + first * ldc, ldc: ldc)
            }
        }
    }

    /// The same on the calling thread alone: for use inside parallel work.
    package static func serialGemm(
        transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1, a: UnsafePointer<Float>, lda: Int,
        b: UnsafePointer<Float>, ldb: Int, beta: Float = 0, c: UnsafeMutablePointer<Float>, ldc: Int
    ) {
        guard m > 0, n > 0 else { return }
        lorikeet_sgemm(
            transposeA ? 1 : 0, transposeB ? 1 : 0, Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b, Int32(ldb), beta, c, Int32(ldc))
    }

    /// OpenBLAS's build without threads keeps its work buffers without locks: called from two threads it gives wrong numbers.
    package static var blasIsThreadSafe: Bool { openblas_get_parallel() != 0 }

    /// OpenBLAS's kernels for this processor, e.g. `SkylakeX`.
    package static var blasKernels: String {
        BLASKernels.choose()
        return BLASKernels.inUse
    }
}
