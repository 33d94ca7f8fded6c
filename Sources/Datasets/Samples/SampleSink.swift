import LorikeetGround

/// Takes the bytes of samples one after another: into memory, or into a file of the store.
final class SampleSink {
    private static let flushBytes = 4 << 20

    private var buffer: [UInt8] = []
    private var flushed = 0
    /// Without a file: what was taken so far.
    private var pieces: [SampleStorage.Piece] = []
    private let file: StoreFile?

    init(file: StoreFile?) { self.file = file }

    /// - Returns: where the bytes begin.
    /// - Throws: `StoreFailure` where the file cannot be written.
    func append(_ bytes: [UInt8]) throws -> Int {
        let offset = flushed + buffer.count
        buffer += bytes
        if buffer.count >= Self.flushBytes { try flush() }
        return offset
    }

    private func flush() throws {
        guard !buffer.isEmpty else { return }
        if let file { try file.write(buffer) } else { pieces.append(.init(start: flushed, bytes: buffer)) }
        flushed += buffer.count
        // A piece keeps its memory.
        if file != nil { buffer.removeAll(keepingCapacity: true) } else { buffer = [] }
    }

    /// Everything appended, for reading.
    func finish() throws -> SampleStorage {
        try flush()
        return try file.map { .file(try $0.finish()) } ?? .memory(pieces)
    }
}
