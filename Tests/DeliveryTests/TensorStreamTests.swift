import Dispatch
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import Synchronization
import Testing

@testable import LorikeetDelivery

/// Tensors move a block of rows at a time.
struct TensorStreamTests {
    private let cpu = CPU(threads: 2)

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

    /// A sink that is given blocks of one row each and may fail.
    private final class Watched: TensorSink {
        var rows: [Float] = []
        var isFinished = false
        let before: (Int) throws -> Void

        /// - Parameter before: called with a block's number before it counts as written.
        init(before: @escaping (Int) throws -> Void) { self.before = before }

        func begin(_ tensors: [TensorDescription]) {}
        func append(_ bytes: UnsafeRawBufferPointer) throws {
            try before(rows.count)
            rows.append(bytes.load(as: Float.self))
        }
        func finish() { isFinished = true }
    }

    /// 40 rows of 4 MiB, each of which begins with its number.
    private func long(_ before: @escaping (Int) throws -> Void) -> StreamedTensor {
        StreamedTensor(description: TensorDescription(name: "long", shape: [40, 1 << 20], type: .f32)) {
            { rows, memory in
                try before(rows.lowerBound)
                memory.storeBytes(of: Float(rows.lowerBound), as: Float.self)
            }
        }
    }

    @Test func `a block is written while the next ones are computed`() throws {
        let isComputed = DispatchSemaphore(value: 0)
        let sink = Watched { block in
            // The third block after this one has no memory before this one is written.
            if block % 4 == 0, block + 2 < 40 { try #require(isComputed.wait(timeout: .now() + 600) == .success) }
        }
        try sink.write([long { if $0 % 4 == 2 { isComputed.signal() } }]) { _ in }
        #expect(sink.rows == (0..<40).map(Float.init) && sink.isFinished)
    }

    @Test func `a block that cannot be written ends the work with its error`() throws {
        let last = Atomic<Int>(0)
        let sink = Watched { if $0 == 5 { throw LorikeetError.machine("the disk is full", fix: "free some space and run the same command again") } }
        let error = #expect(throws: LorikeetError.self) { try sink.write([long { last.store($0, ordering: .relaxed) }]) { _ in } }
        #expect(error?.what == "the disk is full" && sink.rows == [0, 1, 2, 3, 4] && !sink.isFinished)
        #expect(last.load(ordering: .relaxed) <= 8)
    }

    @Test func `what was computed before an error is written, and its error comes first`() throws {
        let read = LorikeetError.machine("the disk does not answer", fix: "")
        for (fails, message, written) in [(40, read.what, 7), (6, "the disk is full", 6)] {
            let sink = Watched { if $0 == fails { throw LorikeetError.machine("the disk is full", fix: "") } }
            let error = #expect(throws: LorikeetError.self) { try sink.write([long { if $0 == 7 { throw read } }]) { _ in } }
            #expect(error?.what == message && sink.rows.count == written && !sink.isFinished)
        }
        // Who asks for an end is not kept waiting for more than what was computed.
        let sink = Watched { _ in }
        let stop = LorikeetError(.stoppedEarly, "cancelled")
        let error = #expect(throws: LorikeetError.self) { try sink.write([tensor("a", [1]), tensor("b", [1])]) { _ in throw stop } }
        #expect(error?.exit == .stoppedEarly && sink.rows.count == 1 && !sink.isFinished)
    }

    @Test(arguments: ElementType.allCases.filter(\.isWritten)) func `any number of threads writes the same bytes`(type: ElementType) throws {
        /// Bytes, whatever they are.
        final class Bytes: TensorSink {
            var all: [UInt8] = []
            func begin(_ tensors: [TensorDescription]) {}
            func append(_ bytes: UnsafeRawBufferPointer) { all += bytes }
            func finish() {}
        }
        func bytes(threads: Int) throws -> [UInt8] {
            let sink = Bytes()
            let step = ConvertPrecision(to: type, path: "base", cpu: CPU(threads: threads))
            let tensors = try [tensor("a", [37, 512]), tensor("b", [600, 2048]), tensor("c", [256])].map(step.apply)
            try sink.write(tensors) { _ in }
            return sink.all
        }
        let alone = try bytes(threads: 1)
        for threads in [2, 3, 16] { #expect(try bytes(threads: threads) == alone) }
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
        try sink.write([ConvertPrecision(to: type, path: "base", cpu: cpu).apply(tensor("a", [3, 512]))]) { _ in }
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
                try Kept().write([ConvertPrecision(to: type, path: "base", cpu: cpu).apply(tensor)]) { _ in }
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
