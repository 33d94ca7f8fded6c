import Glibc
import LorikeetGround

/// A JSONL file in memory and where its rows (the lines that are not blank) stand.
struct JSONLines: Sendable {
    struct Row: Sendable {
        /// Bytes from the beginning of the file.
        let offset: Int
        let count: Int
        /// The line in the file, from 1.
        let line: Int
    }

    let path: String
    let bytes: [UInt8]
    let rows: [Row]

    /// Lines end with LF or CRLF; a UTF-8 BOM and blank lines are passed over.
    ///
    /// - Throws: exit 2 for a missing or empty file, UTF-16, or one JSON array instead of lines.
    init(path: String, files: any Files) throws {
        if files.isDirectory(path) {
            throw LorikeetError.input("a directory, not a JSONL file", at: path, fix: "name a file")
        }
        guard files.exists(path) else {
            throw LorikeetError.input("no such file", at: path, fix: "check the path of the data")
        }
        bytes = try files.read(path)
        self.path = path
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            throw LorikeetError.input("the file is UTF-16", at: path, fix: "write it as UTF-8, one JSON object a line")
        }
        rows = Self.rows(of: bytes)
        guard let first = rows.first else {
            throw LorikeetError.input("the file has no records", at: path, fix: "write one JSON object a line")
        }
        if Self.firstByte(bytes, first) == UInt8(ascii: "[") {
            throw LorikeetError.input(
                "the file is a JSON array, not JSONL", at: "\(path):\(first.line)", fix: "write one JSON object a line")
        }
    }

    /// The row's place for messages: `file:line`.
    func place(of row: Int) -> String { "\(path):\(rows[row].line)" }

    /// Runs `body` on the row's bytes.
    func withBytes<Result>(of row: Int, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[rows[row].offset..<rows[row].offset + rows[row].count])) }
    }

    private static func rows(of bytes: [UInt8]) -> [Row] {
        var rows: [Row] = []
        bytes.withUnsafeBytes { all in
            guard let base = all.baseAddress else { return }
            var at = all.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
            var line = 1
            while at < all.count {
                let newline = memchr(base + at, 0x0A, all.count - at).map { UnsafeRawPointer($0) - base }
                let end = newline ?? all.count
                if all[at..<end].contains(where: { !isBlank($0) }) { rows.append(Row(offset: at, count: end - at, line: line)) }
                at = end + 1
                line += 1
            }
        }
        return rows
    }

    private static func firstByte(_ bytes: [UInt8], _ row: Row) -> UInt8? {
        bytes[row.offset..<row.offset + row.count].first { !isBlank($0) }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
}
