import LorikeetGround

/// Takes the bytes of samples one after another: into memory, or into a file of the store.
final class SampleSink {
    private static let flushBytes = 4 << 20

    private var buffer: [UInt8] = []
    private var flushed = 0
    private let file: StoreFile?

    init(file: StoreFile?) { self.file = file }

    /// - Returns: where the bytes begin.
    /// - Throws: `StoreFailure` where the file cannot be written.
    func append(_ bytes: [UInt8]) throws -> Int {
        let offset = flushed + buffer.count
        buffer += bytes
        if file != nil, buffer.count >= Self.flushBytes { try flush() }
        return offset
    }

    private func flush() throws {
        guard let file, !buffer.isEmpty else { return }
        try file.write(buffer)
        flushed += buffer.count
        buffer.removeAll(keepingCapacity: true)
    }

    /// Everything appended, for reading.
    func finish() throws -> SampleStorage {
        try flush()
        return try file.map { .file(try $0.finish()) } ?? .memory(buffer)
    }
}
