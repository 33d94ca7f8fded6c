import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// Tensors move a block of rows at a time.
struct TensorStreamTests {
    /// Keeps what comes, as a file would.
    private final class Kept: TensorSink {
        var begun: [TensorDescription] = []
        var pieces: [Int] = []
        var values: [Float] = []
        var isFinished = false

        func begin(_ tensors: [TensorDescription]) { begun = tensors }
        func append(_ bytes: UnsafeRawBufferPointer) {
            pieces.append(bytes.count)
            values += bytes.bindMemory(to: Float.self)
        }
        func finish() { isFinished = true }
    }

    private func tensor(_ name: String, _ shape: [Int]) -> StreamedTensor {
        let form = TensorDescription(name: name, shape: shape, type: .f32)
        return StreamedTensor(description: form) {
            { rows, memory in
                let values = memory.assumingMemoryBound(to: Float.self)
                for row in rows {
                    for column in 0..<form.columns { values[(row - rows.lowerBound) * form.columns + column] = Float(row) + Float(column) / 1e6 }
                }
            }
        }
    }

    @Test func `a tensor larger than a block comes whole and in order`() throws {
        // Rows of 2 MiB: two a block, one in the last.
        let columns = 1 << 19
        let sink = Kept()
        var shares: [Double] = []
        try sink.write([tensor("a", [5, columns]), tensor("b", [3])]) { shares.append($0) }
        #expect(sink.begun.map(\.name) == ["a", "b"] && sink.isFinished && shares == [0.5, 1])
        #expect(sink.pieces == [4 << 20, 4 << 20, 2 << 20, 12])
        #expect((0..<5).allSatisfy { row in sink.values[row * columns] == Float(row) && sink.values[row * columns + 1000] == Float(row) + 0.001 })
        #expect(Array(sink.values.suffix(3)) == [0, 1e-6, 2e-6])
    }

    @Test func `shards begin where the next tensor would make one too large`() throws {
        let directory = Temporary.folder()
        try RealFiles().createDirectory(directory)
        let sink = SafetensorsSink(directory: directory, files: RealFiles(), shardBytes: 100)
        try sink.write([tensor("a", [4, 4]), tensor("b", [2, 4]), tensor("c", [10, 10]), tensor("d", [1])]) { _ in }
        let (names, tensors) = try SafetensorsFile.openDirectory(directory)
        #expect(names == ["a", "b", "c", "d"])
        #expect(try RealFiles().list(directory).filter { $0.hasSuffix(".safetensors") }.count == 3)
        let view = try #require(tensors["c"])
        #expect((0..<100).allSatisfy { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) == Float($0 / 10) + Float($0 % 10) / 1e6 })
    }

    /// Rows as blocks: sink and step agree on their sizes, and whoever reads them gets the values back.
    @Test(arguments: [ElementType.q8_0, .q4_K, .q6_K]) func `rows are written as GGUF's blocks`(type: ElementType) throws {
        let sink = Kept()
        try sink.write([ConvertPrecision(to: type, path: "base", cpu: CPU(threads: 2)).apply(tensor("a", [3, 512]))]) { _ in }
        #expect(sink.begun == [TensorDescription(name: "a", shape: [3, 512], type: type)])
        #expect(sink.pieces == [512 / type.blockElements * type.blockBytes * 3])
    }

    @Test func `what a block type cannot hold is refused by the tensor's name`() throws {
        func message(_ type: ElementType, _ shape: [Int], _ value: Float) throws -> String {
            let form = TensorDescription(name: "w", shape: shape, type: .f32)
            let tensor = StreamedTensor(description: form) {
                { rows, memory in
                    for i in 0..<rows.count * form.columns { memory.storeBytes(of: i == 5 ? value : 0, toByteOffset: 4 * i, as: Float.self) }
                }
            }
            let error = #expect(throws: LorikeetError.self) {
                try Kept().write([ConvertPrecision(to: type, path: "base").apply(tensor)]) { _ in }
            }
            #expect(error?.exit == .unusableInput)
            return error?.description ?? ""
        }
        #expect(try message(.q4_K, [2, 320], 1).contains("'w' has rows of 320 values, which cannot be written as q4_K"))
        #expect(try message(.q2_K, [2, 256], 1).contains("cannot be written as q2_K"))
        #expect(try message(.q4_K, [1, 256], .nan).contains("a value of 'w' is not finite"))
        #expect(try message(.q8_0, [1, 32], 1e20).contains("'w' is too large for q8_0"))
    }

    @Test func `a disk that cannot be read is the machine's failure, through the files that are passed in`() throws {
        let files = Unreadable()
        for body in [
            { _ = try ModelSource.open(MergeTests.llama, files: files) },
            { _ = try AdapterFile.read(directory: MergeTests.llama + "/adapter_init", files: files) },
            { _ = try GGUFFile(path: MergeTests.llama + "/model.safetensors", files: files) },
        ] {
            let error = #expect(throws: LorikeetError.self) { try body() }
            #expect(error?.exit == .machineFailed && error?.description.contains("the disk does not answer") == true)
        }
    }
}

/// A disk whose large files cannot be opened.
private struct Unreadable: Files {
    private let real = RealFiles()

    func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    func map(_ path: String) throws -> MappedFile { throw LorikeetError.machine("the disk does not answer", at: path) }
    func exists(_ path: String) -> Bool { real.exists(path) }
    func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    func list(_ directory: String) throws -> [String] { try real.list(directory) }
    func createDirectory(_ path: String) throws { try real.createDirectory(path) }
    func remove(_ path: String) throws { try real.remove(path) }
    func rename(_ from: String, to: String) throws { try real.rename(from, to: to) }
    func create(_ path: String) throws -> any FileWriter { try real.create(path) }
    func openAppending(_ path: String) throws -> any FileWriter { try real.openAppending(path) }
    func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
}
