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
        func row(_ index: Int) -> (offset: Int, numbers: [Int32])? {
            let at = 16 + length + index * Self.rowBytes
            guard let offset = Int(exactly: number(at, UInt64.self)) else { return nil }
            let numbers = (0..<4).map { number(at + 8 + $0 * 4, Int32.self) }
            return numbers.allSatisfy { $0 >= 0 } ? (offset, numbers) : nil
        }
        func samples(_ range: Range<Int>) -> [SampleSet.Entry]? {
            let rows = range.compactMap { row($0) }
            guard rows.count == range.count else { return nil }
            return rows.map { .init(offset: $0.offset, record: $0.numbers[0], tokens: $0.numbers[1], trained: $0.numbers[2], truncated: $0.numbers[3] != 0) }
        }
        let rows = (counts[0] + counts[1]..<counts[0] + counts[1] + counts[2]).compactMap { row($0) }
        guard let train = samples(0..<counts[0]), let validation = samples(counts[0]..<counts[0] + counts[1]), rows.count == counts[2] else { return nil }
        heldOut = rows.map {
            .init(offset: $0.offset, record: $0.numbers[0], promptTokens: $0.numbers[1], promptBytes: $0.numbers[2], answerBytes: $0.numbers[3])
        }
        (self.key, self.dataSum, self.report, self.train, self.validation) = (key, dataSum, report, train, validation)
    }

    /// nil where a row lies outside the data.
    func dataset(_ file: any FileReader) -> Dataset? {
        let samples = (train + validation).allSatisfy { $0.offset <= file.count && SampleCode.byteCount(tokens: Int($0.tokens)) <= file.count - $0.offset }
        let rows = heldOut.allSatisfy {
            $0.offset <= file.count && Int($0.promptTokens) * 4 + Int($0.promptBytes) + Int($0.answerBytes) <= file.count - $0.offset
        }
        guard samples, rows else { return nil }
        let storage = SampleStorage.file(file)
        return Dataset(
            train: SampleSet(entries: train, storage: storage), validation: SampleSet(entries: validation, storage: storage),
            heldOut: HeldOutSet(entries: heldOut, storage: storage), report: report)
    }
}
