import CThreads
import Synchronization

/// Lines in which units of one `CPU.parallelUnits` wait for one another: sums get their terms in one order, whichever worker makes a term when.
///
/// A unit that waits for a turn must come behind the units of all earlier turns of that line. These have been taken then, so none waits for ever,
/// even where one worker does all.
package final class Turns {
    private let ended: UnsafeMutablePointer<Atomic<Int>>
    private let lines: Int
    /// A line has a cache line of its own.
    private static let stride = 64 / MemoryLayout<Atomic<Int>>.stride

    package init(lines: Int) {
        self.lines = lines
        ended = .allocate(capacity: lines * Self.stride)
        for i in 0..<lines * Self.stride { (ended + i).initialize(to: Atomic(0)) }
    }

    deinit {
        ended.deinitialize(count: lines * Self.stride)
        ended.deallocate()
    }

    /// Runs `body` when turns 0 to `turn - 1` of the line have ended, and ends this one.
    package func take(_ turn: Int, in line: Int, _ body: () -> Void) {
        let ended = ended + line * Self.stride
        var looks: Int32 = 0
        while ended.pointee.load(ordering: .acquiring) != turn {
            lorikeet_between_looks(looks)
            if looks < .max { looks += 1 }
        }
        body()
        ended.pointee.store(turn + 1, ordering: .releasing)
    }
}
