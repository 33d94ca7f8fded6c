import LorikeetGround

/// Takes the bytes of samples one after another: into memory, or into a file of the store.
///
/// Two threads may use it at a time: one appends while another writes what was appended before the last `pass`.
final class SampleSink {
    private static let passedBytes = 4 << 20

    private var buffer: [UInt8] = []
    /// Appended bytes before those of `buffer`.
    private var passed = 0
    /// What is to be written next.
    private var ready: [UInt8] = []
    /// Without a file: what was taken so far.
    private var pieces: [SampleStorage.Piece] = []
    private let file: StoreFile?

    init(file: StoreFile?) { self.file = file }

    /// - Returns: where the bytes begin.
    func append(_ bytes: [UInt8]) -> Int {
        let offset = passed + buffer.count
        buffer += bytes
        return offset
    }

    /// Hands what was appended to the next `write`, once that is worth it. All that was handed over before must have been written.
    func pass() { if buffer.count >= Self.passedBytes { passAll() } }

    private func passAll() {
        guard !buffer.isEmpty else { return }
        passed += buffer.count
        if file == nil {
            // A piece keeps its memory.
            pieces.append(.init(start: passed - buffer.count, bytes: buffer))
            buffer = []
        } else {
            swap(&buffer, &ready)
        }
    }

    /// Writes what was handed over.
    ///
    /// - Throws: `StoreFailure` where the file cannot be written.
    func write() throws {
        guard let file, !ready.isEmpty else { return }
        try file.write(ready)
        ready.removeAll(keepingCapacity: true)
    }

    /// Everything appended, for reading.
    ///
    /// - Throws: `StoreFailure` where the file cannot be written.
    func finish() throws -> SampleStorage {
        try write()
        passAll()
        try write()
        return try file.map { .file(try $0.finish()) } ?? .memory(pieces)
    }
}
