import CCompression
import LorikeetGround

/// A data file's bytes from the beginning to the end, decompressed where they are compressed.
///
/// Memory is a few pieces, whatever the file holds: the bytes are produced as they are asked for.
final class ByteStream {
    /// What a file is by its first bytes.
    enum Compression: Sendable { case none, gzip, zstd }

    /// Bytes of a compressed file that are read at once.
    private static let piece = 1 << 18
    /// A file that grows more than so many times, beyond so many bytes, is made to fill a machine: records shrink to a third or a tenth.
    static let largestRatio = 400
    static let ratioFrom = 256 << 20

    private let path: String
    private let file: any FileReader
    private let compression: Compression
    var isCompressed: Bool { compression != .none }
    private var inflater: OpaquePointer?
    /// Bytes of the file that were read.
    private var offset = 0
    /// Compressed bytes that are not used yet.
    private var waiting: [UInt8] = []
    private var used = 0
    private var produced = 0
    private var endsHere = true

    /// - Throws: exit 2 when the file is missing, or is a format that holds no records as text.
    init(path: String, files: any Files) throws {
        self.path = path
        let file = try files.open(path)
        self.file = file
        var beginning = [UInt8](repeating: 0, count: min(file.count, 512))
        try beginning.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
        if beginning.starts(with: [0x1F, 0x8B]) {
            compression = .gzip
        } else if beginning.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
            compression = .zstd
        } else {
            compression = .none
            if let format = BinaryFormat.recognised(beginning, name: path) { throw format.error(at: path) }
            for ending in [".gz", ".zst"] where path.hasSuffix(ending) && file.count > 0 {
                throw LorikeetError.input(
                    "the file's name ends in \(ending), but its content is not compressed that way", at: path, fix: "rename it, or fetch it again")
            }
        }
        if compression != .none {
            inflater = lorikeet_inflater_new(compression == .gzip ? LORIKEET_GZIP : LORIKEET_ZSTD)
            guard inflater != nil else { throw LorikeetError.machine("no memory to decompress", at: path) }
            endsHere = false
        }
    }

    deinit { lorikeet_inflater_free(inflater) }

    /// Appends up to `count` bytes.
    ///
    /// - Returns: false at the end of the file.
    func read(_ count: Int, into bytes: inout [UInt8]) throws -> Bool {
        guard compression != .none else {
            let size = min(count, file.count - offset)
            guard size > 0 else { return false }
            // Memory that is written once: by the file's bytes.
            let before = bytes
            bytes = try [UInt8](unsafeUninitializedCapacity: before.count + size) { memory, used in
                _ = memory.initialize(from: before)
                try file.read(at: offset, into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: memory[before.count..<before.count + size])))
                used = before.count + size
            }
            offset += size
            return true
        }
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: count))
        var filled = 0
        while filled < count {
            if used == waiting.count, offset < file.count { try refill() }
            let made = try inflate(&bytes, start + filled, count - filled)
            filled += made
            if made == 0, used == waiting.count, offset == file.count { break }
        }
        bytes.removeLast(count - filled)
        produced += filled
        guard produced < Self.ratioFrom || produced / Self.largestRatio < max(1, offset) else {
            throw LorikeetError.input(
                "the file grows to more than \(Self.largestRatio) times its size when it is decompressed", at: path,
                fix: "if that size is right, decompress the file first and name the result")
        }
        if filled == 0, !endsHere {
            throw LorikeetError.input("the compressed file ends too early: it is cut off", at: path, fix: "fetch it again").of(.damagedFile)
        }
        return filled > 0
    }

    private func refill() throws {
        let size = min(Self.piece, file.count - offset)
        waiting = [UInt8](repeating: 0, count: size)
        used = 0
        try waiting.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
        offset += size
    }

    private func inflate(_ bytes: inout [UInt8], _ start: Int, _ room: Int) throws -> Int {
        var (consumed, made) = (0, 0)
        let status = waiting.withUnsafeBufferPointer { input in
            bytes.withUnsafeMutableBufferPointer { output in
                lorikeet_inflate(
                    inflater, input.baseAddress.map { $0 + used }, input.count - used, &consumed, output.baseAddress.map { $0 + start }, room, &made)
            }
        }
        used += consumed
        guard status != LORIKEET_INFLATE_BROKEN else {
            let words = lorikeet_inflater_error(inflater).map { String(cString: $0) } ?? "unknown data"
            throw LorikeetError.input("the compressed file is damaged: \(words)", at: path, fix: "fetch it again").of(.damagedFile)
        }
        endsHere = status == LORIKEET_INFLATE_BETWEEN
        return made
    }
}

/// Formats that people hand in as data and that are not read: recognised by their first bytes, refused with what to do.
struct BinaryFormat: Sendable {
    let name: String
    /// What to do, for the file of a path.
    let fix: @Sendable (String) -> String

    func error(at path: String) -> LorikeetError { .input("the file is \(name), which is not read", at: path, fix: fix(path)) }

    private static let unpack: @Sendable (String) -> String = { _ in "unpack it and name the file with the records" }
    private static let known: [(bytes: [UInt8], format: BinaryFormat)] = [
        (
            Array("PAR1".utf8),
            BinaryFormat(name: "Parquet") { path in
                #"convert it: python3 -c "import pandas; pandas.read_parquet('\#(path)').to_json('\#(stem(path)).jsonl', orient='records', lines=True)""#
            }
        ),
        (
            Array("ARROW1".utf8),
            BinaryFormat(name: "an Arrow file") { path in
                #"convert it: python3 -c "import pandas; pandas.read_feather('\#(path)').to_json('\#(stem(path)).jsonl', orient='records', lines=True)""#
            }
        ),
        (
            [0xFF, 0xFF, 0xFF, 0xFF],
            BinaryFormat(name: "an Arrow stream") { path in
                #"convert it: python3 -c "import datasets; datasets.Dataset.from_file('\#(path)').to_json('\#(stem(path)).jsonl')""#
            }
        ),
        ([0x50, 0x4B, 0x03, 0x04], BinaryFormat(name: "a zip archive or an Office document", fix: unpack)),
        ([0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1], BinaryFormat(name: "an old Office document (.xls)") { _ in "save the table as CSV" }),
        (Array("BZh".utf8), BinaryFormat(name: "compressed by bzip2") { "decompress it: bunzip2 \($0)" }),
        ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], BinaryFormat(name: "compressed by xz") { "decompress it: unxz \($0)" }),
        ([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], BinaryFormat(name: "a 7z archive", fix: unpack)),
        ([0x04, 0x22, 0x4D, 0x18], BinaryFormat(name: "compressed by lz4") { "decompress it: unlz4 \($0)" }),
        (Array("Rar!".utf8), BinaryFormat(name: "a RAR archive", fix: unpack)),
        (Array("SQLite format 3".utf8), BinaryFormat(name: "an SQLite database") { _ in "write its records as JSONL" }),
        ([0x89, 0x48, 0x44, 0x46], BinaryFormat(name: "HDF5") { _ in "write its records as JSONL" }),
        (Array("%PDF".utf8), BinaryFormat(name: "a PDF document") { _ in "write its text as JSONL records" }),
        (Array("GGUF".utf8), BinaryFormat(name: "a model (GGUF)") { _ in "name it with --model, and records with --data" }),
        ([0x7F, 0x45, 0x4C, 0x46], BinaryFormat(name: "a program (ELF)") { _ in "name the file with the records" }),
        ([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59], BinaryFormat(name: "a NumPy array") { _ in "write its records as JSONL" }),
        (Array("Obj".utf8) + [0x01], BinaryFormat(name: "Avro") { _ in "write its records as JSONL" }),
        (Array("ORC".utf8), BinaryFormat(name: "ORC") { _ in "write its records as JSONL" }),
        (Array("version https://git-lfs".utf8), BinaryFormat(name: "a pointer of Git LFS, not the data") { _ in "fetch the data: git lfs pull" }),
        (Array("<!DOCTYPE".utf8), BinaryFormat(name: "a web page") { _ in "fetch the data itself: the page says why it was not sent" }),
        (Array("<!doctype".utf8), BinaryFormat(name: "a web page") { _ in "fetch the data itself: the page says why it was not sent" }),
        (Array("<html".utf8), BinaryFormat(name: "a web page") { _ in "fetch the data itself: the page says why it was not sent" }),
        (Array("<?xml".utf8), BinaryFormat(name: "XML") { _ in "write its records as JSONL" }),
    ]

    static func recognised(_ beginning: [UInt8], name: String) -> BinaryFormat? {
        if let match = known.first(where: { beginning.starts(with: $0.bytes) }) { return match.format }
        if beginning.count > 262, beginning[257..<262].elementsEqual(Array("ustar".utf8)) { return BinaryFormat(name: "a tar archive", fix: unpack) }
        if beginning.count > 2, beginning[0] == 0x80, (2...5).contains(beginning[1]) {
            return BinaryFormat(name: "a Python pickle") { _ in "write its records as JSONL: a pickle can run code" }
        }
        for (ending, words) in [(".parquet", "Parquet"), (".arrow", "an Arrow file"), (".xlsx", "an Office document"), (".pkl", "a Python pickle")]
        where name.hasSuffix(ending) {
            return known.first { $0.format.name.hasPrefix(words) }?.format ?? BinaryFormat(name: words) { _ in "write its records as JSONL" }
        }
        return nil
    }

    private static func stem(_ path: String) -> String {
        guard let dot = path.lastIndex(of: "."), !path[dot...].holdsSlash else { return path }
        return String(path[..<dot])
    }
}
