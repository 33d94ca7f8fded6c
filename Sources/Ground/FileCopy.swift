extension Files {
    /// Copies a regular file, piece by piece, and returns when the copy is on the disk. Nothing may be at `path` before; a copy that an error
    /// interrupts stays there, so copy into a folder under construction (`PendingFolder`).
    ///
    /// - Parameter check: called before each piece of 1 MiB; what it throws ends the copying.
    /// - Throws: exit 2 when `source` is missing, a link or no regular file; exit 4 when it cannot be read or the copy cannot be written.
    package func copyFile(_ source: String, to path: String, check: () throws -> Void = {}) throws {
        guard !isLink(source) else { throw LorikeetError.input("this is a link, which is not followed", at: source, fix: "copy the file itself there") }
        let writer = try create(path)
        // What is empty cannot be mapped.
        if try byteCount(of: source) > 0 {
            let file = try map(source)
            let block = UnsafeMutableRawBufferPointer.allocate(byteCount: min(file.count, 1 << 20), alignment: 64)
            defer { block.deallocate() }
            for offset in stride(from: 0, to: file.count, by: block.count) {
                try check()
                let piece = UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, file.count - offset)])
                try file.read(at: offset, into: piece)
                try writer.write(UnsafeRawBufferPointer(piece))
            }
        }
        try writer.sync()
        try writer.close()
    }
}
