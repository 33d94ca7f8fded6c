import Glibc

/// How fast a disk takes what is written to it.
package enum DiskRate {
    /// Enough that the disk's own rate counts, and not only the first answer to a flush.
    private static let bytes = 32 << 20
    private static let pieceBytes = 4 << 20
    private static let mostUnwritten: Int64 = 256 << 20

    /// Bytes a second at which the file system of `directory` takes data so that it outlives a power failure: 32 MiB are written to a file without a
    /// name, which leaves nothing behind even where the process is killed, and flushed. A shared disk may be slower or faster a minute later.
    ///
    /// - Parameter directory: where it does not exist, the nearest one above it that does.
    /// - Returns: nil where the file system has no such files, or no room for one, and where much that was written before (a download, say) still waits for
    ///   the disk: what is measured would be that queue.
    package static func writtenBytesPerSecond(at directory: String) -> Double? {
        guard Machine.unwrittenBytes() < mostUnwritten else { return nil }
        var place = directory.isEmpty ? "." : directory
        while access(place, F_OK) != 0, place != "/", place != "." {
            place = place.beforeLastSlash.map { $0.isEmpty ? "/" : $0 } ?? "."
        }
        // O_TMPFILE: O_DIRECTORY and a bit of its own, which Glibc's module does not show.
        let file = open(place, O_WRONLY | O_CLOEXEC | O_DIRECTORY | 0o20_000_000, 0o600)
        guard file >= 0 else { return nil }
        defer { close(file) }
        // Not zeros, which some disks do not store.
        let piece = (0..<pieceBytes / 8).map { UInt64($0) &* 0x9E37_79B9_7F4A_7C15 }
        let clock = ContinuousClock()
        let begin = clock.now
        var written = 0
        while written < bytes {
            let count = piece.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            guard count > 0 else { return nil }
            written += count
        }
        guard fdatasync(file) == 0 else { return nil }
        let seconds = begin.duration(to: clock.now) / .seconds(1)
        return seconds > 0 ? Double(written) / seconds : nil
    }
}
