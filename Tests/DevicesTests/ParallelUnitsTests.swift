import Glibc
import Synchronization
import Testing

@testable import LorikeetDevices

struct ParallelUnitsTests {
    @Test(arguments: [1, 2, 3, 7, 16], [0, 1, 5, 40]) func `every unit is done once, in the order in which units are taken`(threads: Int, count: Int) {
        let visits = Mutex([Int](repeating: 0, count: count))
        let cpu = CPU(threads: threads)
        for _ in 0..<20 {
            cpu.parallelUnits(count) { unit, worker in
                visits.withLock { $0[unit] += 1 }
                #expect(worker < threads)
            }
        }
        #expect(visits.withLock { $0 }.allSatisfy { $0 == 20 })
    }

    /// Each worker is held at its first unit until all have one: ranges dealt to fewer workers would not end.
    @Test func `every worker takes units`() {
        let come = Mutex<Set<Int>>([])
        let cpu = CPU(threads: 16) { _, worker in
            come.withLock { _ = $0.insert(worker) }
            let start = ContinuousClock.now
            while come.withLock({ $0.count }) < 16, ContinuousClock.now - start < .seconds(600) { usleep(100) }
        }
        cpu.parallelUnits(40) { _, _ in }
        #expect(come.withLock { $0.count } == 16)
    }

    @Test(arguments: [1, 2, 16]) func `units take their turns in the order of their numbers`(threads: Int) {
        let (lines, count) = (3, 120)
        let lists = Mutex([[Int]](repeating: [], count: lines))
        let cpu = CPU(threads: threads)
        for _ in 0..<20 {
            lists.withLock { $0 = [[Int]](repeating: [], count: lines) }
            let turns = Turns(lines: lines)
            cpu.parallelUnits(count) { unit, _ in
                if unit % 5 == 0 { usleep(20) }
                turns.take(unit / lines, in: unit % lines) { lists.withLock { $0[unit % lines].append(unit) } }
            }
            #expect(lists.withLock { $0 } == (0..<lines).map { Array(stride(from: $0, to: count, by: lines)) })
        }
    }

    @Test func `units started inside parallel work are done by its own thread`() {
        let visits = Mutex([Int](repeating: 0, count: 12))
        let cpu = CPU(threads: 3)
        cpu.parallel(over: 3) { part in
            let turns = Turns(lines: 1)
            cpu.parallelUnits(4) { unit, _ in turns.take(unit, in: 0) { visits.withLock { $0[part * 4 + unit] += 1 } } }
        }
        #expect(visits.withLock { $0 } == [Int](repeating: 1, count: 12))
    }
}
