import LorikeetDevices

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
        let buffer = try Buffer(bytes: max(count, 1))
        try fill(buffer.base)
        self.init(owner: buffer, base: buffer.base, count: count)
    }

    /// The bytes as elements of `type`; the address must suit its alignment.
    @inline(__always)
    package func pointer<Element>(as type: Element.Type, at byteOffset: Int = 0) -> UnsafePointer<Element> {
        // An address that came from a pointer is never nil again.
        UnsafeRawPointer(bitPattern: address).unsafelyUnwrapped.advanced(by: byteOffset).assumingMemoryBound(to: type)
    }
}
