import LorikeetDevices
import LorikeetGround
import Synchronization

/// Visits all rows of a matrix as float32, a unit of some rows at a time, on all threads.
///
/// How a matrix changes its form without a float copy of the whole: each thread keeps one unit.
///
/// - Parameters:
///   - multiple: a unit's rows are a multiple of this, but for the last unit.
///   - cpu: nil works on the calling thread alone. Its `interruption` is asked before each unit.
///   - body: rows of the unit and their values [rows.count, columns].
/// - Throws: `Interrupted`; some units were not visited then.
func forEachUnit(
    of source: any WeightStore, multiple: Int, cpu: CPU?, _ body: (Range<Int>, UnsafePointer<Float>) -> Void
) throws {
    let columns = source.columns
    guard source.rows > 0, columns > 0 else { return }
    let unitRows = min(multiple * max(1, unitFloats / (multiple * columns)), source.rows)
    let units = (source.rows + unitRows - 1) / unitRows
    let interruption = cpu?.interruption
    let isCut = Atomic<Bool>(false)
    /// Whether the next unit is to be visited.
    func goesOn() -> Bool {
        guard let interruption, interruption() else { return true }
        isCut.store(true, ordering: .relaxed)
        return false
    }
    func visit(_ range: Range<Int>, _ worker: Int) {
        if let direct = source.directFloats {
            for unit in range {
                guard goesOn() else { return }
                let rows = unit * unitRows..<min((unit + 1) * unitRows, source.rows)
                body(rows, direct + rows.lowerBound * columns)
            }
            return
        }
        let scratch = UnsafeMutablePointer<Float>.allocate(capacity: unitRows * columns)
        defer { scratch.deallocate() }
        for unit in range {
            guard goesOn() else { return }
            let rows = unit * unitRows..<min((unit + 1) * unitRows, source.rows)
            source.expand(rows: rows, into: scratch)
            body(rows, UnsafePointer(scratch))
        }
    }
    if let cpu { cpu.parallelRanges(over: units, visit) } else { visit(0..<units, 0) }
    if isCut.load(ordering: .relaxed) { throw Interrupted() }
}

/// 64 KB: stays in a second-level cache between expansion and conversion.
private let unitFloats = 16384
