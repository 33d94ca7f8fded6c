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
