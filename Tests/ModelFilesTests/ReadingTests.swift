import Foundation
import LorikeetGround
import Testing

@testable import LorikeetModelFiles

/// Bytes read past the mapping are those of the mapping.
struct ReadingTests {
    private let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-read-" + UUID().uuidString).path
    private let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 * 7919 >> 3) }

    private func file() throws -> MappedFile {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try RealFiles().map(path)
    }

    @Test(arguments: [0..<0, 0..<5000, 17..<18, 4999..<5000, 5000..<5000]) func `any stretch of a file, also when its name is gone`(
        range: Range<Int>
    ) throws {
        let file = try file()
        var read = [UInt8](repeating: 0, count: range.count)
        try read.withUnsafeMutableBytes { try file.read(at: range.lowerBound, into: $0) }
        #expect(read == Array(bytes[range]) && read == Array(file.bytes[range]))
    }

    @Test(arguments: [0..<0, 0..<5000, 4097..<4999]) func `bytes whose pages were given back are the file's`(range: Range<Int>) throws {
        let file = try file()
        #expect(Array(file.bytes) == bytes)
        file.giveBack(range)
        #expect(Array(file.bytes) == bytes)
        // Pieces in memory have no file behind them: they stay.
        let pieces = try MappedFile(path: "pieces", count: 5000, pieces: [(0, bytes)])
        pieces.giveBack(range)
        #expect(Array(pieces.bytes) == bytes)
    }

    @Test func `a stretch past the end is an error with the file and the byte`() throws {
        let file = try file()
        var read = [UInt8](repeating: 0, count: 11)
        let error = #expect(throws: LorikeetError.self) { try read.withUnsafeMutableBytes { try file.read(at: 4990, into: $0) } }
        #expect(error?.exit == .machineFailed && error?.description.contains("\(path) at byte 5000: the file ended early") == true)
    }

    @Test(arguments: [nil, RowPermutation(heads: 2)]) func `any stretch of a tensor, rows in Hugging Face's order`(order: RowPermutation?) throws {
        // Twelve rows of 40 bytes.
        let view = TensorView(name: "w", shape: [12, 10], type: .f32, file: try file(), offset: 96, byteCount: 480, rowPermutation: order)
        let whole = (0..<12).flatMap { row in
            let source = order?.sourceRow(of: row, rows: 12) ?? row
            return bytes[(96 + 40 * source)..<(136 + 40 * source)]
        }
        for range in [0..<480, 0..<0, 40..<80, 39..<41, 7..<333, 479..<480] {
            var read = [UInt8](repeating: 0, count: range.count)
            try read.withUnsafeMutableBytes { try view.read(range, into: $0) }
            #expect(read == Array(whole[range]), "\(range)")
        }
    }
}
