import Synchronization
import Testing

@testable import LorikeetDevices

/// What control groups lend, on trees given as text; and the pool and buffers at their edges.
struct LimitsTests {
    private func group(_ files: [String: String]) -> ControlGroup { ControlGroup { files[$0] ?? "" } }

    @Test func `without control groups nothing is limited`() {
        let none = group([:])
        #expect(none.memoryLimitBytes() == nil && none.availableMemoryBytes() == nil && none.processors() == nil)
        let unlimited = group([
            "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "5\n",
            "/sys/fs/cgroup/cpu.max": "max 100000\n",
        ])
        #expect(unlimited.memoryLimitBytes() == nil && unlimited.processors() == nil)
    }

    @Test func `a group above the process's own counts when it is tighter`() {
        let nested = group([
            "/proc/self/cgroup": "0::/user.slice/job.scope\n", "/sys/fs/cgroup/user.slice/memory.max": "1000000\n",
            "/sys/fs/cgroup/user.slice/memory.current": "900000\n", "/sys/fs/cgroup/user.slice/job.scope/memory.max": "4000000\n",
            "/sys/fs/cgroup/user.slice/job.scope/memory.current": "600000\n", "/sys/fs/cgroup/user.slice/cpu.max": "250000 100000\n",
            "/sys/fs/cgroup/user.slice/job.scope/cpu.max": "150000 100000\n",
        ])
        #expect(nested.memoryLimitBytes() == 1_000_000 && nested.availableMemoryBytes() == 100_000 && nested.processors() == 1.5)
    }

    @Test func `pages of files that the kernel can drop count as free`() {
        let mapped = group([
            "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.current": "950\n",
            "/sys/fs/cgroup/memory.stat": "anon 100\nfile 850\ninactive_file 800\nactive_file 50\n",
        ])
        #expect(mapped.availableMemoryBytes() == 850)
    }

    @Test func `version 1 is read, its no-limit values too`() {
        let old = group([
            "/proc/self/cgroup": "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1500\n", "/sys/fs/cgroup/memory/memory.stat": "total_inactive_file 300\n",
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        ])
        #expect(old.memoryLimitBytes() == 2000 && old.availableMemoryBytes() == 800 && old.processors() == 0.5)
        let unlimited = group([
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        ])
        #expect(unlimited.memoryLimitBytes() == nil && unlimited.processors() == nil)
    }

    @Test func `parallel work inside parallel work visits every index once`() {
        let cpu = CPU(threads: 3)
        let visits = (0..<12).map { _ in Counter() }
        cpu.parallel(over: 3) { outer in cpu.parallel(over: 4) { visits[outer * 4 + $0].add() } }
        #expect(visits.allSatisfy { $0.value == 1 })
    }

    @Test func `two callers at once each get all their indices`() async {
        let cpu = CPU(threads: 2)
        await withTaskGroup(of: Bool.self) { tasks in
            for _ in 0..<4 {
                tasks.addTask {
                    let visits = (0..<50).map { _ in Counter() }
                    for _ in 0..<200 { cpu.parallel(over: 50) { visits[$0].add() } }
                    return visits.allSatisfy { $0.value == 200 }
                }
            }
            for await whole in tasks { #expect(whole) }
        }
    }

    @Test(arguments: [Int.max, Int.max - 1, -1, .min]) func `a size that no memory has is an error, not a trap`(bytes: Int) {
        #expect(throws: (any Error).self) { try Buffer(bytes: bytes) }
    }

    @Test func `an empty buffer is none too many`() throws { #expect(try Buffer(bytes: 0).byteCount == 0) }

    @Test(arguments: [(40, 7, 30), (7, 40, 30), (64, 64, 3)]) func `a product inside wider matrices overwrites its own part only`(size: (Int, Int, Int)) {
        let (m, n, k) = size
        let (lda, ldb, ldc) = (k + 5, n + 3, n + 9)
        let a = (0..<m * lda).map { Float(($0 * 37) % 19) / 10 - 0.9 }
        let b = (0..<k * ldb).map { Float(($0 * 53) % 23) / 10 - 1.1 }
        // beta 0 must not read what stands in C.
        var c = [Float](repeating: .nan, count: m * ldc)
        CPU(threads: 2).gemm(m: m, n: n, k: k, a: a, lda: lda, b: b, ldb: ldb, c: &c, ldc: ldc)
        for i in 0..<m {
            for j in 0..<n {
                let sum = (0..<k).reduce(0.0) { $0 + Double(a[i * lda + $1]) * Double(b[$1 * ldb + j]) }
                #expect(abs(Double(c[i * ldc + j]) - sum) < 1e-4)
            }
            #expect(c[i * ldc + n..<(i + 1) * ldc].allSatisfy { $0.isNaN })
        }
    }
}

private final class Counter: Sendable {
    private let count = Mutex(0)
    func add() { count.withLock { $0 += 1 } }
    var value: Int { count.withLock { $0 } }
}
