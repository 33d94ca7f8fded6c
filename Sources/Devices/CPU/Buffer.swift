import Glibc
import LorikeetGround

/// Zeroed memory, 64-byte aligned, whose pages exist once they are touched: arenas, weights and flat parameter buffers.
///
/// The one unchecked `Sendable` of the project: code that shares a buffer between threads gives each of them a disjoint range.
package final class Buffer: @unchecked Sendable {
    package let base: UnsafeMutableRawPointer
    /// Bytes asked for.
    package let byteCount: Int
    private let mappedBytes: Int
    /// The buffer that this is a part of.
    private let whole: Buffer?

    /// - Throws: exit 4 when the system refuses the memory.
    package init(bytes: Int) throws {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        // Whole pages; sizes come from files, so that rounding up must not overflow.
        mappedBytes = bytes > 0 && bytes <= Int.max - page ? bytes.roundedUp(toMultipleOf: page) : page
        guard bytes >= 0, bytes <= mappedBytes,
            let mapped = mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), mapped != MAP_FAILED
        else {
            throw LorikeetError.machine(
                "\(Units.formatBytes(Int64(bytes))) of memory cannot be allocated", fix: "free memory or use a smaller max_length or batch")
        }
        // Large pages cut the cost of first touches and of address translation.
        let hugePages: Int32 = 14  // MADV_HUGEPAGE
        if mappedBytes >= 1 << 21 { madvise(mapped, mappedBytes, hugePages) }
        base = mapped
        byteCount = bytes
        whole = nil
    }

    /// A part of another buffer, whose memory it keeps.
    ///
    /// - Parameters:
    ///   - byteOffset: a multiple of 64. Offset and size have to lie within the other.
    package init(part buffer: Buffer, at byteOffset: Int, bytes: Int) {
        precondition(byteOffset >= 0 && bytes >= 0 && bytes <= buffer.byteCount - byteOffset)
        (base, byteCount, mappedBytes, whole) = (buffer.base + byteOffset, bytes, 0, buffer)
    }

    deinit { if whole == nil { munmap(base, mappedBytes) } }

    /// The bytes from `byteOffset` on as elements of `type`.
    package func pointer<Element>(as type: Element.Type, at byteOffset: Int = 0) -> UnsafeMutablePointer<Element> {
        (base + byteOffset).assumingMemoryBound(to: type)
    }
}
