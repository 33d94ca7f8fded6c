import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// Rows that are read in blocks are those of the whole matrix.
struct RowBlocksTests {
    private func view(_ shape: [Int], _ type: ElementType, permutation: RowPermutation? = nil, storedOffset: Float = 0) throws -> TensorView {
        let count = try #require(type.byteCount(shape: shape))
        var bytes = (0..<count).map { UInt8(truncatingIfNeeded: mix64(UInt64($0))) }
        // Small floats, and scales of blocks that are finite.
        if type == .f32 { for i in stride(from: 3, to: count, by: 4) { bytes[i] = 0x3E } }
        if type == .q8_0 { for i in stride(from: 1, to: count, by: 34) { bytes[i] = 0x20 } }
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-rows-" + UUID().uuidString).path
        try Data([1, 2, 3] + bytes).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return TensorView(
            name: "w", shape: shape, type: type, file: try RealFiles().map(path), offset: 3, byteCount: count, rowPermutation: permutation,
            storedOffset: storedOffset)
    }

    @Test(arguments: [ElementType.f32, .f16, .bf16, .q8_0], [nil, RowPermutation(heads: 3)])
    func `any block of a matrix's rows expands to the values that it has in the whole`(type: ElementType, permutation: RowPermutation?) throws {
        let view = try view([12, 64], type, permutation: permutation)
        let whole = try loadStore(view: view, storage: .f32, cpu: nil)
        var wanted = [Float](repeating: 0, count: 12 * 64)
        whole.expand(rows: 0..<12, into: &wanted)
        let blocks = try RowBlocks(view)
        for rows in [0..<12, 0..<5, 5..<10, 11..<12] {
            var found = [Float](repeating: 0, count: rows.count * 64)
            try blocks.withStore(rows) { store in
                #expect(store.rows == rows.count && store.columns == 64)
                store.expand(rows: 0..<rows.count, into: &found)
            }
            #expect(found.elementsEqual(wanted[rows.lowerBound * 64..<rows.upperBound * 64]) { $0.bitPattern == $1.bitPattern }, "\(rows)")
        }
    }

    @Test(arguments: [nil, RowPermutation(heads: 3)], [Float(0), 1]) func `a vector is one row, in its order and without its offset`(
        permutation: RowPermutation?, offset: Float
    ) throws {
        let view = try view([12], .f32, permutation: permutation, storedOffset: offset)
        let buffer = try WeightTable.floats(view)
        let blocks = try RowBlocks(view)
        var found = [Float](repeating: 0, count: 12)
        try blocks.withStore(0..<1) { store in
            #expect(store.rows == 1 && store.columns == 12)
            store.expand(rows: 0..<1, into: &found)
        }
        found.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { blocks.finish(base, count: 12) } }
        let plain = (0..<12).map { view.bytes.loadUnaligned(fromByteOffset: 4 * (permutation?.sourceRow(of: $0, rows: 12) ?? $0), as: Float.self) - offset }
        #expect(found == plain && (0..<12).map { buffer.pointer(as: Float.self)[$0] } == plain)
    }
}
