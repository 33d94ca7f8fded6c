import LorikeetGround
import Testing

@testable import LorikeetEngine

/// GGUF's blocks against the gguf package (Fixtures/weights/make_gguf_blocks.py).
struct BlockStoreTests {
    func store(_ format: BlockFormat, _ bytes: [UInt8], rows: Int, columns: Int) throws -> BlockStore {
        let stored = try StoredBytes(count: bytes.count) { memory in
            bytes.withUnsafeBytes { if let p = $0.baseAddress { memory.copyMemory(from: p, byteCount: $0.count) } }
        }
        return try BlockStore(rows: rows, columns: columns, format: format, bytes: stored, name: "w")
    }

    @Test(arguments: BlockFormat.allCases) func `random blocks expand to what gguf makes of them bit for bit`(
        format: BlockFormat
    ) throws {
        let file = try TensorFixture("weights/gguf_blocks.safetensors")
        let shape = try file.shape("\(format.rawValue).values")
        let store = try store(format, file.bytes("\(format.rawValue).blocks"), rows: shape[0], columns: shape[1])
        #expect(expanded(store) == (try file.floats("\(format.rawValue).values")))
        expectPartsEqualWhole(store)
    }

    @Test(arguments: [BlockFormat.q4_0, .q4_1, .q5_0, .q5_1, .q8_0])
    func `quantised weights expand to what gguf makes of them bit for bit`(format: BlockFormat) throws {
        let file = try TensorFixture("weights/gguf_blocks.safetensors")
        let store = try store(format, file.bytes("\(format.rawValue).quantised"), rows: 1, columns: 512)
        #expect(expanded(store) == (try file.floats("\(format.rawValue).quantised_values")))
    }

    @Test(arguments: BlockFormat.allCases) func `a row that is not whole blocks is an error`(format: BlockFormat) {
        #expect(throws: LorikeetError.self) {
            try store(format, [UInt8](repeating: 0, count: 10000), rows: 1, columns: format.blockElements + 16)
        }
    }

    @Test(arguments: BlockFormat.allCases) func `too few bytes are an error`(format: BlockFormat) {
        #expect(throws: LorikeetError.self) {
            let bytes = [UInt8](repeating: 0, count: 2 * format.blockBytes - 1)
            return try store(format, bytes, rows: 2, columns: format.blockElements)
        }
        #expect(throws: LorikeetError.self) {
            try store(format, [UInt8](repeating: 0, count: 1000), rows: .max, columns: format.blockElements)
        }
    }
}
