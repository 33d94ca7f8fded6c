import Glibc
import LorikeetGround

/// Where a row of a data file stands.
struct Row: Sendable {
    /// Bytes from the beginning of the block.
    let offset: Int
    let count: Int
    /// The line in the file on which it begins, from 1.
    let line: Int
}

/// Whole rows of one file, as many as fit into a few megabytes.
struct RowBlock: Sendable {
    let bytes: [UInt8]
    let rows: [Row]

    /// Runs `body` on a row's bytes.
    func withBytes<Result>(of row: Row, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[row.offset..<row.offset + row.count])) }
    }
}

/// Cuts the bytes of a file into rows.
protocol RowCutter {
    /// Appends the whole rows at the beginning of `bytes`.
    ///
    /// - Parameter isLast: no bytes follow, so what is left is a row too.
    /// - Returns: bytes used; the rest is given again with what follows it.
    mutating func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool, into rows: inout [Row]) throws -> Int
}

/// A data file as blocks of rows, from the beginning to the end. What the file is (JSONL, a JSON array, CSV) is found from its first bytes and
/// its name.
final class RowBlocks {
    /// How the records are written down.
    enum Form: Sendable, Equatable {
        case lines
        case array
        case csv(CSVHeader)
    }

    static let blockBytes = 4 << 20
    /// A row of more bytes is no record.
    static let largestRow = 64 << 20

    let path: String
    let form: Form
    private let stream: ByteStream
    var isCompressed: Bool { stream.isCompressed }
    private var cutter: any RowCutter
    private var pending: [UInt8] = []
    private var isAtEnd = false
    private var isFinished = false

    /// - Throws: exit 2 for a missing or empty file, a text that is not UTF-8, or a format that is not read.
    init(path: String, files: any Files) throws {
        if files.isDirectory(path) { throw LorikeetError.input("this is a directory, not a file with records", at: path, fix: "name a file") }
        guard files.exists(path) else {
            throw LorikeetError.input("no such file", at: path, fix: "check the path of the data").of(.unreadableFile)
        }
        self.path = path
        stream = try ByteStream(path: path, files: files)
        isAtEnd = try !stream.read(Self.blockBytes, into: &pending)
        try TextFault.refuseEncodings(pending, at: path)
        if pending.starts(with: [0xEF, 0xBB, 0xBF]) { pending.removeFirst(3) }
        if let format = BinaryFormat.recognised(Array(pending.prefix(512)), name: "") { throw format.error(at: path) }
        guard let first = pending.first(where: { !isBlank($0) && $0 != 0x0A }) else {
            throw LorikeetError.input("the file has no records", at: path, fix: "write one JSON object a line")
        }
        var name = path.lowercased()[...]
        for ending in [".gz", ".zst"] where name.hasSuffix(ending) { name = name.dropLast(ending.count) }
        if name.hasSuffix(".csv") || name.hasSuffix(".tsv") {
            let header = try CSVHeader(pending, tabs: name.hasSuffix(".tsv"), at: path)
            form = .csv(header)
            cutter = CSVCutter(header: header)
        } else if first == UInt8(ascii: "[") {
            form = .array
            cutter = ArrayCutter()
        } else {
            try TextFault.refuseOtherText(pending, at: path)
            form = .lines
            cutter = LineCutter()
        }
    }

    /// The next block; nil behind the last.
    func next() throws -> RowBlock? {
        while !isFinished {
            var rows: [Row] = []
            let used: Int
            do {
                used = try pending.withUnsafeBytes { try cutter.cut($0, isLast: isAtEnd, into: &rows) }
            } catch let error as CutError {
                throw LorikeetError.input(error.what, at: "\(path):\(error.line)", fix: error.fix)
            }
            var rest = [UInt8]()
            // The cutter is asked once more at the end, also with nothing left: something may be open.
            isFinished = isAtEnd
            if !isAtEnd {
                rest = Array(pending[used...])
                guard rest.count <= Self.largestRow else {
                    throw LorikeetError.input(
                        "a record has more than \(Self.largestRow >> 20) MiB", at: path,
                        fix: "write one JSON object a line, and cut long texts into several records"
                    )
                }
                let before = rest.count
                isAtEnd = try !stream.read(max(Self.blockBytes, before), into: &rest)
            }
            let block = RowBlock(bytes: pending, rows: rows)
            pending = rest
            if !rows.isEmpty { return block }
        }
        return nil
    }
}

/// Why a file cannot be cut into rows.
struct CutError: Error {
    let what: String
    let line: Int
    let fix: String
}

/// A row a line that is not blank; lines end with LF or CRLF.
struct LineCutter: RowCutter {
    private var line = 1

    mutating func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool, into rows: inout [Row]) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        var at = 0
        while at < bytes.count {
            let newline = memchr(base + at, 0x0A, bytes.count - at).map { UnsafeRawPointer($0) - base }
            guard let end = newline ?? (isLast ? bytes.count : nil) else { break }
            if bytes[at..<end].contains(where: { !isBlank($0) }) { rows.append(Row(offset: at, count: end - at, line: line)) }
            at = min(end + 1, bytes.count)
            line += 1
        }
        return at
    }
}

/// A row an element of the file's one JSON array, whatever lines they stand on.
struct ArrayCutter: RowCutter {
    private enum Place { case before, element, behindElement, after }

    private var place = Place.before
    private var line = 1

    mutating func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool, into rows: inout [Row]) throws -> Int {
        var at = 0
        while at < bytes.count {
            let byte = bytes[at]
            if byte == 0x0A { line += 1 }
            if isBlank(byte) || byte == 0x0A {
                at += 1
                continue
            }
            switch (place, byte) {
            case (.before, UInt8(ascii: "[")): place = .element
            case (.element, UInt8(ascii: "]")) where rows.isEmpty && !hasElements, (.behindElement, UInt8(ascii: "]")): place = .after
            case (.behindElement, UInt8(ascii: ",")): place = .element
            case (.element, _):
                guard let end = try elementEnd(bytes, from: at, isLast: isLast) else { return at }
                guard end > at else {
                    throw CutError(what: "a comma of the array has no record behind it", line: line, fix: "remove the comma")
                }
                rows.append(Row(offset: at, count: end - at, line: line))
                line += bytes[at..<end].reduce(0) { $1 == 0x0A ? $0 + 1 : $0 }
                hasElements = true
                place = .behindElement
                at = end
                continue
            case (.behindElement, _):
                throw CutError(what: "a comma is missing between two records of the array", line: line, fix: "write the array again with a JSON library")
            default:
                throw CutError(
                    what: "text stands behind the end of the JSON array", line: line,
                    fix: "one array a file, or one JSON object a line: records are objects, not lists")
            }
            at += 1
        }
        guard !isLast || place == .after else {
            throw CutError(what: "the JSON array is not closed: the file is cut off", line: line, fix: "fetch or write it again")
        }
        return at
    }

    private var hasElements = false

    /// One past the element that begins at `start`; nil where it goes on behind the bytes at hand.
    private func elementEnd(_ bytes: UnsafeRawBufferPointer, from start: Int, isLast: Bool) throws -> Int? {
        var depth = 0
        var at = start
        var inText = false
        while at < bytes.count {
            let byte = bytes[at]
            if inText {
                if byte == UInt8(ascii: "\\") {
                    at += 1
                } else if byte == UInt8(ascii: "\"") {
                    inText = false
                }
            } else {
                switch byte {
                case UInt8(ascii: "\""): inText = true
                case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    if depth == 0 { return at }
                    depth -= 1
                    if depth == 0 { return at + 1 }
                case UInt8(ascii: ",") where depth == 0: return at
                default: break
                }
            }
            at += 1
        }
        return isLast ? bytes.count : nil
    }
}

/// Space, tab or carriage return.
func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
