/// Bytes that a store reads, and whatever keeps them alive: memory of ours or part of a mapped file.
///
/// Holds the address as a number, so that it is plainly `Sendable`; the bytes are never written after construction.
package struct StoredBytes: Sendable {
    private let owner: any AnyObject & Sendable
    private let address: UInt
    /// Length in bytes.
    package let count: Int

    /// - Parameters:
    ///   - base: the first byte; `owner` keeps `count` bytes from there alive and unchanged.
    package init(owner: any AnyObject & Sendable, base: UnsafeRawPointer, count: Int) {
        self.owner = owner
        self.address = UInt(bitPattern: base)
        self.count = count
    }

    /// New zeroed memory, 64-byte aligned, filled by `fill` and never written again.
    package init(count: Int, fill: (UnsafeMutableRawPointer) throws -> Void) throws {
        let memory = Memory(byteCount: max(count, 1))
        try fill(memory.base)
        self.init(owner: memory, base: memory.base, count: count)
    }

    /// The bytes as elements of `type`; the address must suit its alignment.
    @inline(__always)
    package func pointer<Element>(as type: Element.Type, at byteOffset: Int = 0) -> UnsafePointer<Element> {
        let raw = UnsafeRawPointer(bitPattern: address) ?? UnsafeRawPointer(bitPattern: 64).unsafelyUnwrapped
        return (raw + byteOffset).assumingMemoryBound(to: type)
    }

    /// Owned memory; `Devices.Buffer` takes its place.
    private final class Memory: Sendable {
        private let address: UInt
        var base: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped }
        init(byteCount: Int) {
            let base = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
            base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
            address = UInt(bitPattern: base)
        }
        deinit { base.deallocate() }
    }
}
