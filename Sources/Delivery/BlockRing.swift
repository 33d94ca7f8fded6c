import Dispatch
import LorikeetDevices
import Synchronization

/// Blocks of bytes on their way from the thread that computes them to the one that writes them: a few pieces of memory in turn, so that the two work
/// at the same time and neither gets far ahead.
final class BlockRing {
    private final class Slot {
        let memory: Buffer
        var count = 0

        init(bytes: Int) throws { memory = try Buffer(bytes: max(1, bytes)) }
    }

    private let slots: [Slot]
    private let free = DispatchSemaphore(value: 0)
    private let passed = DispatchSemaphore(value: 0)
    /// Blocks that were passed on.
    private let count = Atomic<Int>(0)
    private let isStopped = Atomic<Bool>(false)

    /// - Parameter bytes: of the largest block.
    /// - Throws: exit 4 when the system refuses the memory.
    init(bytes: Int, slots: Int = 3) throws {
        self.slots = try (0..<slots).map { _ in try Slot(bytes: bytes) }
        for _ in 0..<slots { free.signal() }
    }

    // MARK: the thread that computes

    /// Memory for the next block, once there is some; nil when what was passed on could not be written.
    func next() -> UnsafeMutableRawPointer? {
        free.wait()
        guard !isStopped.load(ordering: .acquiring) else { return nil }
        return slots[count.load(ordering: .relaxed) % slots.count].memory.base
    }

    /// Passes the block in that memory on.
    func pass(_ bytes: Int) {
        let number = count.load(ordering: .relaxed)
        slots[number % slots.count].count = bytes
        count.store(number + 1, ordering: .releasing)
        passed.signal()
    }

    /// No block follows.
    func end() { passed.signal() }

    // MARK: the thread that writes

    /// Calls `write` with each block in order, and returns after the last; blocks that follow one that fails are dropped.
    func takeAll(_ write: (UnsafeRawBufferPointer) throws -> Void) throws {
        var failure: (any Error)?
        var taken = 0
        while true {
            passed.wait()
            // One signal a block, and a last one.
            guard taken < count.load(ordering: .acquiring) else { break }
            let slot = slots[taken % slots.count]
            taken += 1
            if failure == nil {
                do {
                    try write(UnsafeRawBufferPointer(start: slot.memory.base, count: slot.count))
                } catch {
                    failure = error
                    isStopped.store(true, ordering: .releasing)
                }
            }
            free.signal()
        }
        if let failure { throw failure }
    }
}
