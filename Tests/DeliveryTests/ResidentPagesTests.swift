import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// What is merged or exported passes through memory a tensor at a time, and so do the mapped pages of the base's files.
struct ResidentPagesTests {
    private let cpu = CPU(threads: 2)

    /// A folder on a disk: files in memory (`make test` keeps the other tests' there) are mapped in larger pieces.
    private static func folder() -> String {
        let disk = ProcessInfo.processInfo.environment["LORIKEET_TEST_DISK"] ?? FileManager.default.temporaryDirectory.path
        return disk + "/lorikeet-" + UUID().uuidString
    }

    /// A llama of bfloat16 weights: 21 MB, of which the largest tensor has 1 MiB.
    private func base(hasHead: Bool = false) throws -> String {
        let directory = Self.folder()
        try RealFiles().createDirectory(directory)
        let configuration: JSON = [
            "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8,
            "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 1024, "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "max_position_embeddings": 512,
        ]
        try RealFiles().writeDurably(configuration.serialized(), to: directory + "/config.json")
        let norms = ["input_layernorm", "post_attention_layernorm"].map { ($0, [512]) }
        let attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map { ("self_attn." + $0, [512, 512]) }
        let layer = norms + attention + [("mlp.gate_proj", [1024, 512]), ("mlp.up_proj", [1024, 512]), ("mlp.down_proj", [512, 1024])]
        var tensors = [("model.embed_tokens.weight", [1024, 512]), ("model.norm.weight", [512])]
        for number in 0..<4 { tensors += layer.map { ("model.layers.\(number).\($0.0).weight", $0.1) } }
        if hasHead { tensors.append(("lm_head.weight", [1024, 512])) }
        let sink = SafetensorsSink(directory: directory, files: RealFiles(), shardBytes: 1 << 30)
        try sink.write(
            tensors.map { name, shape in
                let form = TensorDescription(name: name, shape: shape, type: .bf16)
                return StreamedTensor(description: form) {
                    { rows, memory in
                        for i in 0..<rows.count * form.columns {
                            // The upper half of a float32 is a bfloat16.
                            let value = Float((rows.lowerBound * form.columns + i) % 251 - 125) / 4096
                            memory.storeBytes(of: UInt16(value.bitPattern >> 16), toByteOffset: 2 * i, as: UInt16.self)
                        }
                    }
                }
            }
        ) { _ in }
        return directory
    }

    /// Bytes of a mapped file that are in this process's memory, by the page table (proc_pid_pagemap(5)).
    private static func residentBytes(of file: MappedFile) throws -> Int {
        let (page, base) = (Int(sysconf(Int32(_SC_PAGESIZE))), Int(bitPattern: file.bytes.baseAddress))
        var entries = [UInt64](repeating: 0, count: (file.count + page - 1) / page)
        let table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
        defer { close(table) }
        let got = entries.withUnsafeMutableBytes { pread(table, $0.baseAddress, $0.count, base / page * 8) }
        try #require(got == entries.count * 8)
        return entries.count { $0 >> 63 == 1 } * page
    }

    private static func file(of source: ModelSource) throws -> MappedFile { try #require(source.files.tensors.values.first).file }

    /// Takes what is written and looks at what the base has in memory.
    private final class Watch: TensorSink {
        let file: MappedFile
        private(set) var bytes = 0
        private(set) var largest = 0

        init(_ source: ModelSource) throws { file = try ResidentPagesTests.file(of: source) }
        func begin(_ tensors: [TensorDescription]) {}
        func append(_ bytes: UnsafeRawBufferPointer) throws {
            self.bytes += bytes.count
            largest = max(largest, try ResidentPagesTests.residentBytes(of: file))
        }
        func finish() {}
    }

    /// More than the largest tensor, and what the system maps beside a page that is touched; far less than the file.
    private static let limit = 3 << 20

    @Test(arguments: [BaseStorage.stored, .nf4], [false, true])
    func `a merge holds the pages of one tensor of its base`(storage: BaseStorage, isQuantised: Bool) throws {
        let plain = try base()
        var directory = plain
        if isQuantised {
            // Its scales stand in other tensors, so its linears are read in place.
            directory = Self.folder()
            var settings = MergeSettings(type: .f16)
            settings.isNF4 = true
            try Merger(base: ModelSource.open(plain), adapter: nil, settings: settings, files: RealFiles(), cpu: cpu).write(to: directory)
        }
        let source = try ModelSource.open(directory)
        let watch = try Watch(source)
        try watch.write(TensorStream(source, linearsThrough: storage, cpu: cpu).tensors()) { _ in }
        let parameters = source.configuration.family.weights().reduce(0) { $0 + $1.shape.reduce(1, *) }
        #expect(watch.bytes == 4 * parameters && parameters > 10_000_000)
        #expect(watch.largest < Self.limit, "\(watch.largest)")
    }

    @Test func `bnb-4bit holds the pages of one tensor of its base`() throws {
        let directory = try base()
        let source = try ModelSource.open(directory)
        let watch = try Watch(source)
        let export = BitsAndBytesExport(base: source, type: .f16, cpu: cpu)
        try watch.write(export.tensors(TensorStream(source, linearsThrough: .nf4, cpu: cpu).tensors())) { _ in }
        #expect(watch.bytes > 5_000_000 && watch.largest < Self.limit, "\(watch.largest)")
    }

    @Test func `a base that is loaded in another form leaves only its table's pages in memory`() throws {
        let source = try ModelSource.open(base())
        let file = try Self.file(of: source)
        let model = try Compute(cpu: cpu).model(source, storage: .nf4, lora: nil)
        // The table is read in place when it is used.
        #expect(try Self.residentBytes(of: file) < 1 << 20 && model.weights.storedBytes > 5_000_000)
        let stored = try Compute(cpu: cpu).model(source, storage: .stored, lora: nil)
        #expect(try Session(model: stored, maximumTokens: 32).logits(TokenBatch(sequence: [1, 2, 3]), rows: [2]).count == 1024)
        #expect(try Self.residentBytes(of: file) > 15 << 20)
        source.files.giveBackPages()
        #expect(try Self.residentBytes(of: file) == 0)
        stored.releaseWeights()
        #expect(stored.weights.storedBytes == 0)
    }

    @Test func `a tied head that the file has again is compared without staying in memory`() throws {
        // Two tables of 1 MiB.
        let directory = try base(hasHead: true)
        let source = try ModelSource.open(directory)
        let file = try Self.file(of: source)
        #expect(try Self.residentBytes(of: file) < 1 << 20)
        // The measure is worth something.
        #expect(file.bytes.reduce(0) { $0 &+ Int($1) } != 0)
        #expect(try Self.residentBytes(of: file) == (file.count + 4095) / 4096 * 4096)
    }
}
