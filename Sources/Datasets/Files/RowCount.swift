import Glibc
import LorikeetDevices
import LorikeetGround

/// How many rows a data file has.
enum RowCount {
    /// Bytes of a file of lines that a worker takes at once.
    static let pieceBytes = 1 << 20

    /// - Parameters:
    ///   - pieceBytes: at least 3, which a byte order mark has.
    ///   - check: called before each piece, on any thread; what it throws ends the counting.
    /// - Throws: as reading the file by `RowBlocks` does.
    static func rows(of path: String, files: any Files, cpu: CPU, pieceBytes: Int = pieceBytes, check: () throws -> Void = {}) throws -> Int {
        let blocks = try RowBlocks(path: path, files: files)
        if blocks.form == .lines, !blocks.isCompressed { return try lines(of: files.open(path), cpu, pieceBytes, check) }
        var count = 0
        while let block = try blocks.next() {
            try check()
            count += block.rows.count
        }
        return count
    }

    /// What one piece of a file of lines has. A line counts where one of its bytes is not blank, and may lie in several pieces.
    private struct Piece {
        /// Lines that lie in it with both ends.
        var whole = 0
        /// Whether something stands before its first line end, and behind its last one; the same where it has none.
        var (opens, closes) = (false, false)
        var hasEnd = false

        init(_ bytes: UnsafeRawBufferPointer) {
            guard let base = bytes.baseAddress else { return }
            func hasText(_ range: Range<Int>) -> Bool { range.contains { !isBlank(bytes[$0]) } }
            var at = 0
            while at < bytes.count, let found = memchr(base + at, 0x0A, bytes.count - at) {
                let end = UnsafeRawPointer(found) - base
                if !hasEnd { opens = hasText(at..<end) } else if hasText(at..<end) { whole += 1 }
                hasEnd = true
                at = end + 1
            }
            closes = hasText(at..<bytes.count)
            if !hasEnd { opens = closes }
        }
    }

    /// Counts on all workers; the pieces are put together in their order.
    private static func lines(of file: any FileReader, _ cpu: CPU, _ pieceBytes: Int, _ check: () throws -> Void) throws -> Int {
        let count = (file.count + pieceBytes - 1) / pieceBytes
        var pieces = [Result<Piece, any Error>?](repeating: nil, count: count)
        pieces.withUnsafeMutableBufferPointer { pieces in
            cpu.parallel(over: count) { index in
                let start = index * pieceBytes
                let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: min(pieceBytes, file.count - start), alignment: 8)
                defer { memory.deallocate() }
                pieces[index] = Result {
                    try check()
                    try file.read(at: start, into: memory)
                    let isMarked = index == 0 && memory.starts(with: [0xEF, 0xBB, 0xBF])
                    return Piece(UnsafeRawBufferPointer(rebasing: memory[(isMarked ? 3 : 0)...]))
                }
            }
        }
        var (rows, isOpen) = (0, false)
        for piece in try pieces.compactMap({ try $0?.get() }) {
            isOpen = isOpen || piece.opens
            guard piece.hasEnd else { continue }
            rows += piece.whole + (isOpen ? 1 : 0)
            isOpen = piece.closes
        }
        return rows + (isOpen ? 1 : 0)
    }
}
