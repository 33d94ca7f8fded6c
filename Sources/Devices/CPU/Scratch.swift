import Synchronization

/// Memory that several threads work in, each in a piece of its own. Pieces are kept and used again, so that their pages are not made anew every time.
package final class Scratch: Sendable {
    private let free = Mutex<[Buffer]>([])

    package init() {}

    /// Calls `body` with at least `bytes` bytes, 64-byte aligned, which are its own until it returns. They hold whatever was left there.
    ///
    /// - Throws: exit 4 when the system refuses the memory; what `body` throws.
    package func with<Value>(bytes: Int, _ body: (UnsafeMutableRawPointer) throws -> Value) throws -> Value {
        let kept = free.withLock { $0.popLast() }
        let buffer = if let kept, kept.byteCount >= bytes { kept } else { try Buffer(bytes: max(1, bytes)) }
        defer { free.withLock { $0.append(buffer) } }
        return try body(buffer.base)
    }
}
