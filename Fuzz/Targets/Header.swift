import LorikeetModelFiles

/// A model's file that is opened from pieces, as one on a hub is: they have to be those of the file.
enum Header {
    static func read(_ path: String, _ bytes: UnsafeRawBufferPointer) {
        // Small first pieces, so that more have to be asked for. What it throws, the whole file's reader throws or has thrown.
        _ = try? FileHeader.file(path: path, count: bytes.count, pieceBytes: 64) { Array(bytes[$0]) }
    }
}
