import Foundation
import LorikeetGround
import Testing

@testable import LorikeetModelFiles

/// What is written is what is read.
struct GGUFWriterTests {
    private func path() -> String { FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString + ".gguf").path }

    @Test func `every kind of value and tensors of odd sizes come back`() throws {
        let metadata: [(key: String, value: GGUFValue)] = [
            ("a.unsigned", .unsigned(7)), ("a.large", .unsigned(1 << 40)), ("a.signed", .signed(-3)), ("a.float", .float(0.25)), ("a.flag", .bool(true)),
            ("a.text", .string("é")), ("a.texts", .stringArray(["x", ""])), ("a.numbers", .intArray([-1, 2])), ("a.long", .intArray([1 << 40])),
            ("a.bytes", .byteArray([0, 255])), ("a.floats", .floatArray([1.5])), ("a.flags", .boolArray([true, false])), ("a.none", .stringArray([])),
        ]
        let path = path()
        let tensors = [("one", [3]), ("two", [2, 5]), ("three", [1, 1])].map { GGUFWriter.Tensor(name: $0.0, type: .f32, shape: $0.1) }
        let writer = try GGUFWriter(path: path, metadata: metadata, tensors: tensors)
        let values = (0..<14).map { Float($0) }
        // Pieces that end inside tensors, and one that spans two.
        try values.withUnsafeBytes { bytes in
            for range in [0..<8, 8..<20, 20..<21, 21..<56] { try writer.append(UnsafeRawBufferPointer(rebasing: bytes[range])) }
        }
        try writer.finish()
        let file = try GGUFFile(path: path)
        for (key, value) in metadata { #expect(file.metadata[key].map { "\($0)" } == "\(value)", "\(key)") }
        #expect(file.names == ["one", "two", "three"] && file.tensors["two"]?.shape == [2, 5])
        for (name, first, count) in [("one", 0, 3), ("two", 3, 10), ("three", 13, 1)] {
            let view = try #require(file.tensors[name])
            #expect((0..<count).allSatisfy { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) == values[first + $0] } && view.offset % 32 == 0)
        }
        #expect(try RealFiles().byteCount(of: path) == GGUFWriter.fileBytes(path: path, metadata: metadata, tensors: tensors))
        #expect(!RealFiles().exists(path + RealFiles.partialSuffix))
    }

    @Test func `what is not whole has no name, and what cannot be stored is refused`() throws {
        let path = path()
        let tensor = GGUFWriter.Tensor(name: "w", type: .f32, shape: [2])
        let writer = try GGUFWriter(path: path, metadata: [], tensors: [tensor])
        #expect(throws: LorikeetError.self) { try writer.finish() }
        #expect(!RealFiles().exists(path))
        try [UInt8](repeating: 0, count: 8).withUnsafeBytes { try writer.append($0) }
        #expect(throws: LorikeetError.self) { try [UInt8(0)].withUnsafeBytes { try writer.append($0) } }
        for wrong in [[tensor, tensor], [GGUFWriter.Tensor(name: "w", type: .q8_0, shape: [2, 31])], [GGUFWriter.Tensor(name: "w", type: .nf4, shape: [2])]] {
            #expect(throws: LorikeetError.self) { try GGUFWriter(path: self.path(), metadata: [], tensors: wrong) }
        }
        #expect(throws: LorikeetError.self) { try GGUFWriter(path: self.path(), metadata: [("a", .bool(true)), ("a", .bool(true))], tensors: []) }
        #expect(throws: LorikeetError.self) { try GGUFWriter(path: self.path(), metadata: [("a", .array([]))], tensors: []) }
    }
}
