import LorikeetGround
import LorikeetJSON

/// The index file of a store's entry.
///
///     8 bytes   "LORISMP1"
///     8 bytes   length of the header, little-endian
///     header    JSON: key, data_sum, train, validation, held_out (numbers of rows), report
///     tables    24 bytes a row: offset (64 bits), then four 32-bit numbers, all little-endian
///     64 bytes  check sum of everything before, as text, filled up with spaces
struct StoreIndex {
    private static let magic = Array("LORISMP1".utf8)
    private static let sumBytes = 64
    private static let rowBytes = 24

    let key: String
    let dataSum: String
    private let report: DataReport
    private let train: [SampleSet.Entry]
    private let validation: [SampleSet.Entry]
    private let heldOut: [HeldOutSet.Entry]

    static func bytes(_ dataset: Dataset, key: String, dataSum: String) -> [UInt8] {
        let header: JSON = [
            "key": .string(key), "data_sum": .string(dataSum), "train": JSON(dataset.train.count), "validation": JSON(dataset.validation.count),
            "held_out": JSON(dataset.heldOut.count), "report": dataset.report.json,
        ]
        let text = Array(header.serialized().utf8)
        var bytes = magic
        func append<Number: FixedWidthInteger>(_ number: Number) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }
        append(UInt64(text.count))
        bytes += text
        for entry in dataset.train.entries + dataset.validation.entries {
            append(UInt64(entry.offset))
            for number in [entry.record, entry.tokens, entry.trained, entry.truncated ? 1 : 0] { append(number) }
        }
        for entry in dataset.heldOut.entries {
            append(UInt64(entry.offset))
            for number in [entry.record, entry.promptTokens, entry.promptBytes, entry.answerBytes] { append(number) }
        }
        let sum = Array(ContentHash(of: bytes).description.utf8)
        return bytes + sum + [UInt8](repeating: 0x20, count: max(0, sumBytes - sum.count))
    }

    /// nil where the bytes are not what `bytes` writes.
    init?(_ bytes: [UInt8]) {
        let body = bytes.count - Self.sumBytes
        guard body >= 16, bytes.starts(with: Self.magic) else { return nil }
        let sum = bytes.withUnsafeBytes { ContentHash(of: UnsafeRawBufferPointer(rebasing: $0[..<body])).description }
        guard bytes[body...].elementsEqual(Array(sum.utf8) + [UInt8](repeating: 0x20, count: max(0, Self.sumBytes - sum.utf8.count))) else { return nil }
        func number<Number: FixedWidthInteger>(_ at: Int, _: Number.Type) -> Number {
            bytes.withUnsafeBytes { Number(littleEndian: $0.loadUnaligned(fromByteOffset: at, as: Number.self)) }
        }
        guard let length = Int(exactly: number(8, UInt64.self)), length <= body - 16,
            let header = try? JSON.parse(Array(bytes[16..<16 + length]), source: "index"), let key = header["key"]?.string,
            let dataSum = header["data_sum"]?.string, let report = header["report"].flatMap({ DataReport(json: $0) })
        else { return nil }
        let counts = ["train", "validation", "held_out"].compactMap { header[$0]?.int }
        guard counts.count == 3, counts.allSatisfy({ $0 >= 0 && $0 <= body }), counts.reduce(0, +) * Self.rowBytes == body - 16 - length else { return nil }
        let tables = bytes[(16 + length)..<body]
        let split = (tables.startIndex + counts[0] * Self.rowBytes, tables.startIndex + (counts[0] + counts[1]) * Self.rowBytes)
        func sample(_ offset: Int, _ a: Int32, _ b: Int32, _ c: Int32, _ d: Int32) -> SampleSet.Entry {
            .init(offset: offset, record: a, tokens: b, trained: c, truncated: d != 0)
        }
        guard let train = Self.rows(tables[..<split.0], sample), let validation = Self.rows(tables[split.0..<split.1], sample),
            let heldOut = Self.rows(
                tables[split.1...],
                { HeldOutSet.Entry(offset: $0, record: $1, promptTokens: $2, promptBytes: $3, answerBytes: $4) })
        else { return nil }
        self.heldOut = heldOut
        (self.key, self.dataSum, self.report, self.train, self.validation) = (key, dataSum, report, train, validation)
    }

    /// The rows of a table: an offset and four numbers each; nil where one is negative.
    private static func rows<Row>(_ table: ArraySlice<UInt8>, _ row: (Int, Int32, Int32, Int32, Int32) -> Row) -> [Row]? {
        var rows: [Row] = []
        rows.reserveCapacity(table.count / rowBytes)
        let areSound = table.withUnsafeBytes { bytes in
            for at in stride(from: 0, to: bytes.count, by: rowBytes) {
                func number(_ place: Int) -> Int32 { Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: at + 8 + place * 4, as: Int32.self)) }
                let offset = Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: Int64.self))
                let (a, b, c, d) = (number(0), number(1), number(2), number(3))
                guard offset >= 0, a | b | c | d >= 0 else { return false }
                rows.append(row(Int(offset), a, b, c, d))
            }
            return true
        }
        return areSound ? rows : nil
    }

    /// nil where a row lies outside the data.
    func dataset(_ file: any FileReader) -> Dataset? {
        let count = file.count
        func holds(_ entry: SampleSet.Entry) -> Bool { entry.offset <= count && SampleCode.byteCount(tokens: Int(entry.tokens)) <= count - entry.offset }
        let rows = heldOut.allSatisfy {
            $0.offset <= count && Int($0.promptTokens) * 4 + Int($0.promptBytes) + Int($0.answerBytes) <= count - $0.offset
        }
        guard train.allSatisfy(holds), validation.allSatisfy(holds), rows else { return nil }
        let storage = SampleStorage.file(file)
        return Dataset(
            train: SampleSet(entries: train, storage: storage), validation: SampleSet(entries: validation, storage: storage),
            heldOut: HeldOutSet(entries: heldOut, storage: storage), report: report)
    }
}
