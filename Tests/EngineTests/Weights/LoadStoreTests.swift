import Glibc
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// From a mapped file to a store, in every form.
struct LoadStoreTests {
    let cpu = CPU(threads: 2)

    /// A file of `bytes` behind `offset` other bytes, seen as a tensor.
    func view(
        _ bytes: [UInt8], shape: [Int], type: ElementType, offset: Int = 64, permutation: RowPermutation? = nil,
        byteCount: Int? = nil
    ) throws -> TensorView {
        var template = Array("/tmp/lorikeet-weights-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let content = [UInt8](repeating: 0xff, count: offset) + bytes
        try #require(write(descriptor, content, content.count) == content.count)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let file = try RealFiles().map(path)
        unlink(path)
        return TensorView(
            name: "w", shape: shape, type: type, file: file, offset: offset, byteCount: byteCount ?? bytes.count,
            rowPermutation: permutation)
    }

    func bytes<T>(of values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

    @Test(arguments: BaseStorage.allCases) func `every storage reports the bytes that were planned for it`(
        storage: BaseStorage
    ) throws {
        for (rows, columns) in [(37, 70), (8, 512), (3, 1)] {
            let view = try view(bytes(of: noise(rows * columns)), shape: [rows, columns], type: .f32)
            let store = try loadStore(view: view, storage: storage, cpu: cpu)
            #expect(store.rows == rows && store.columns == columns)
            #expect(store.formatName == (storage == .stored ? "f32" : storage.rawValue))
            #expect(store.storedBytes == storage.bytes(rows: rows, columns: columns, stored: .f32))
        }
    }

    @Test(arguments: BlockFormat.allCases) func `blocks of a file convert to what they expand to`(
        format: BlockFormat
    ) throws {
        let file = try TensorFixture("weights/gguf_blocks.safetensors")
        let values = try file.floats("\(format.rawValue).values")
        let type = try #require(ElementType(rawValue: format.rawValue))
        #expect(type.blockBytes == format.blockBytes && type.blockElements == format.blockElements)
        let view = try view(file.bytes("\(format.rawValue).blocks"), shape: [2, 512], type: type, offset: 3)
        let stored = try loadStore(view: view, storage: .stored, cpu: cpu)
        #expect(stored.formatName == format.rawValue && expanded(stored) == values)
        #expect(stored.storedBytes == BaseStorage.stored.bytes(rows: 2, columns: 512, stored: type))
        let floats = try loadStore(view: view, storage: .f32, cpu: nil)
        #expect(expanded(floats) == values && floats.directFloats != nil)
        let nf4 = try loadStore(view: view, storage: .nf4, cpu: cpu)
        let same = try NF4Store.quantise(FloatStore(rows: 2, columns: 512, copying: values), name: "w", cpu: cpu)
        #expect(expanded(nf4) == expanded(same))
    }

    @Test(arguments: [64, 65]) func `floats are read at any offset, in place where they are aligned`(offset: Int) throws {
        let values = noise(6 * 5)
        let floats = try view(bytes(of: values), shape: [6, 5], type: .f32, offset: offset)
        #expect(expanded(try loadStore(view: floats, storage: .stored, cpu: cpu)) == values)
        let inPlace = try loadStore(view: floats, storage: .stored, cpu: cpu).directFloats
        #expect((UnsafeRawPointer(inPlace) == floats.bytes.baseAddress) == (offset % 4 == 0))
        let halves = values.map { Float16($0) }
        let half = try view(bytes(of: halves), shape: [6, 5], type: .f16, offset: offset)
        #expect(expanded(try loadStore(view: half, storage: .stored, cpu: cpu)) == halves.map { Float($0) })
        let upper = values.map { UInt16($0.bitPattern >> 16) }
        let bf16 = try view(bytes(of: upper), shape: [6, 5], type: .bf16, offset: offset)
        #expect(expanded(try loadStore(view: bf16, storage: .f32, cpu: cpu)) == upper.map { Float(bitPattern: UInt32($0) << 16) })
    }

    @Test func `a store keeps its file mapped`() throws {
        let values = noise(4096)
        let store = try loadStore(view: view(bytes(of: values), shape: [64, 64], type: .f32), storage: .stored, cpu: cpu)
        #expect(expanded(store) == values)
    }

    @Test func `permuted rows come out in Hugging Face's order`() throws {
        // Two heads of four rows: llama.cpp's order interleaves the halves (0, 2, 1, 3).
        let inFile: [Float] = [0, 2, 1, 3, 4, 6, 5, 7]
        let view = try view(
            bytes(of: inFile.flatMap { [$0, -$0] }), shape: [8, 2], type: .f32, permutation: RowPermutation(heads: 2))
        for storage in [BaseStorage.stored, .f32, .bf16] {
            let values = expanded(try loadStore(view: view, storage: storage, cpu: cpu))
            #expect(values == (0..<8).flatMap { [Float($0), -Float($0)] })
        }
    }

    @Test(arguments: [0, 3, 4, 16]) func `heads that do not divide the rows are an error`(heads: Int) throws {
        let view = try view(
            bytes(of: noise(16)), shape: [4, 4], type: .f32, permutation: RowPermutation(heads: heads))
        #expect(throws: LorikeetError.self) { try loadStore(view: view, storage: .stored, cpu: cpu) }
    }

    @Test func `a view whose size is not its shape's is an error`() throws {
        let values = bytes(of: noise(16))
        for shape in [[4, 5], [4, 3], [.max, .max], [16], [4, 0], [1 << 62, 4], [-4, -4], [2, 2, 4]] {
            let view = try view(values, shape: shape, type: .f32)
            #expect(throws: LorikeetError.self) { try loadStore(view: view, storage: .stored, cpu: cpu) }
        }
        let long = try view(values, shape: [4, 5], type: .f32, byteCount: 80)
        #expect(throws: LorikeetError.self) { try loadStore(view: long, storage: .stored, cpu: cpu) }
    }

    @Test(arguments: [ElementType.f64, .i64, .i8, .bool]) func `a type that no weight has is an error`(
        type: ElementType
    ) throws {
        let view = try view([UInt8](repeating: 0, count: 4 * type.blockBytes), shape: [2, 2], type: type)
        #expect(throws: LorikeetError.self) { try loadStore(view: view, storage: .stored, cpu: cpu) }
    }

    @Test(arguments: BaseStorage.allCases) func `a shape beyond counting is planned as more than any machine has`(
        storage: BaseStorage
    ) {
        #expect(storage.bytes(rows: .max, columns: .max, stored: .f32) == 1 << 50)
        #expect(storage.bytes(rows: -1, columns: 4, stored: .f32) == 1 << 50)
    }
}
