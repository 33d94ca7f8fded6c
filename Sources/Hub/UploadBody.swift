import LorikeetGround

/// A body that is in memory.
final class BytesBody: HTTPBody {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var count: Int64 { Int64(bytes.count) }

    func read(into memory: UnsafeMutableRawBufferPointer) -> Int {
        let taken = min(memory.count, bytes.count - at)
        guard taken > 0 else { return 0 }
        bytes.withUnsafeBytes { memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[at..<at + taken])) }
        at += taken
        return taken
    }

    func rewind(to offset: Int64) { at = Int(min(max(0, offset), count)) }
}

/// A part of a file, read as it is sent: none of it stays in memory.
final class FileBody: HTTPBody {
    private let reader: any FileReader
    private let range: Range<Int>
    private var at: Int
    /// Called with the bytes of the part that have been sent so far.
    private let progress: (Int64) -> Void

    init(_ reader: any FileReader, _ range: Range<Int>, progress: @escaping (Int64) -> Void = { _ in }) {
        (self.reader, self.range, self.progress) = (reader, range, progress)
        at = range.lowerBound
    }

    var count: Int64 { Int64(range.count) }

    func read(into memory: UnsafeMutableRawBufferPointer) throws -> Int {
        let taken = min(memory.count, range.upperBound - at)
        guard taken > 0 else { return 0 }
        try reader.read(at: at, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<taken]))
        at += taken
        progress(Int64(at - range.lowerBound))
        return taken
    }

    func rewind(to offset: Int64) { at = range.lowerBound + Int(min(max(0, offset), count)) }
}
