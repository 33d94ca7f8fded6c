import FailingFiles
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

struct MergeTests {
    static let llama = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Reference/llama").path
    let cpu = CPU(threads: 2)

    private func folder() -> String { FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path }

    private func merge(_ type: ElementType, into: BaseStorage = .stored, to directory: String, files: any Files = RealFiles(), shard: Int = 5_000_000_000)
        throws
    {
        var settings = MergeSettings(type: type, into: into)
        settings.shardBytes = shard
        try Merger(
            base: ModelSource.open(Self.llama), adapter: AdapterFile.read(directory: Self.llama + "/adapter_init"), settings: settings, files: files, cpu: cpu
        ).write(to: directory)
    }

    private func logits(_ directory: String, storage: BaseStorage = .stored, adapter: Bool) throws -> [Float] {
        let file = adapter ? try AdapterFile.read(directory: Self.llama + "/adapter_init") : nil
        let lora = file.map { LoRASettings(r: $0.configuration.r, alpha: $0.configuration.alpha, targetModules: $0.configuration.targetModules) }
        let model = try Compute(cpu: cpu).model(ModelSource.open(directory), storage: storage, lora: lora)
        if let file { try model.loadAdapter(file) }
        let session = try Session(model: model, maximumTokens: 32)
        return try session.logits(TokenBatch(sequence: (0..<20).map { Int32(($0 * 37) % 157 + 3) }), rows: Array(0..<20))
    }

    private func difference(_ a: [Float], _ b: [Float]) -> Double {
        guard a.count == b.count, !a.isEmpty else { return .infinity }
        let largest = a.reduce(0.0) { maximumOrNaN($0, Double(abs($1))) }
        return zip(a, b).reduce(0.0) { maximumOrNaN($0, Double(abs($1.0 - $1.1))) } / largest
    }

    @Test(arguments: [(ElementType.f32, MergePrecision.float32), (.f16, .float16), (.bf16, .bfloat16)])
    func `a merged model read back from disk gives base plus adapter's logits`(type: ElementType, precision: MergePrecision) throws {
        let directory = folder()
        try merge(type, to: directory)
        let apart = difference(try logits(Self.llama, adapter: true), try logits(directory, adapter: false))
        #expect(apart <= mergeLogitTolerance(precision), "\(apart)")
        // And the tolerance is worth something: the base alone is far outside it.
        #expect(difference(try logits(Self.llama, adapter: true), try logits(Self.llama, adapter: false)) > 0.05)
        let source = try ModelSource.open(directory)
        #expect(source.tensor("lm_head.weight") == nil && source.configuration.values["tie_word_embeddings"] == true)
        #expect(source.tensor("model.layers.0.self_attn.q_proj.weight")?.type == type)
        // The test of a folder takes the limit of what it holds, not of what a recipe would write.
        #expect(MergePrecision(of: source) == precision)
    }

    @Test func `merged into the trained weights it is the NF4 base plus the adapter`() throws {
        let directory = folder()
        try merge(.f32, into: .nf4, to: directory)
        #expect(difference(try logits(Self.llama, storage: .nf4, adapter: true), try logits(directory, adapter: false)) < 1e-5)
    }

    @Test func `shards hold the same tensors as one file`() throws {
        let (one, many) = (folder(), folder())
        try merge(.f32, to: one)
        try merge(.f32, to: many, shard: 100_000)
        // What transformers writes there, for readers that check it.
        let path = many + "/model.safetensors.index.json"
        let index = try JSON.parse(RealFiles().read(path), source: path)
        let tensors = try SafetensorsFile(path: one + "/model.safetensors").tensors.values
        #expect(index["metadata"]?["total_size"]?.int == tensors.reduce(0) { $0 + $1.bytes.count })
        #expect(index["metadata"]?["total_parameters"]?.int == tensors.reduce(0) { $0 + $1.elementCount })
        #expect(index["weight_map"]?.object?.keys == tensors.map(\.name).sorted())
        #expect(try logits(one, adapter: false) == logits(many, adapter: false))
    }

    @Test(arguments: [100, 3000, 400_000]) func `a full disk leaves nothing half written`(bytes: Int) throws {
        let directory = folder()
        let error = #expect(throws: LorikeetError.self) { try merge(.f32, to: directory, files: FullDisk(bytes: bytes, said: 1 << 40)) }
        #expect(error?.exit == .machineFailed)
        #expect(!RealFiles().exists(directory) && !RealFiles().exists(directory + ".partial"))
    }

    @Test(arguments: [0.0, 0.4, 0.9]) func `merging that its caller ends in the middle leaves nothing`(share: Double) throws {
        struct Ended: Error {}
        let parent = folder()
        try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
        let merger = try Merger(
            base: ModelSource.open(Self.llama), adapter: AdapterFile.read(directory: Self.llama + "/adapter_init"), settings: MergeSettings(type: .f16),
            files: RealFiles(), cpu: cpu)
        var shares: [Double] = []
        #expect(throws: Ended.self) {
            try merger.write(to: parent + "/merged") {
                shares.append($0)
                if $0 > share { throw Ended() }
            }
        }
        #expect(shares.last.map { $0 < 1 } == true && (share == 0 || shares.count > 1), "\(shares)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: parent).isEmpty)
    }

    @Test func `a weight that float16 cannot hold is named`() throws {
        let adapter = folder()
        let file = try AdapterFile.read(directory: Self.llama + "/adapter_init")
        var large = file.configuration
        large.alpha = 1e7
        let views = file.tensors.values.sorted { $0.name < $1.name }
        let values = views.map { view in (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) } }
        let flat = values.flatMap { $0 }
        try flat.withUnsafeBufferPointer { all in
            var start = 0
            var list: [(name: String, shape: [Int], values: UnsafeBufferPointer<Float>)] = []
            for view in views {
                list.append((view.name, view.shape, UnsafeBufferPointer(rebasing: all[start..<start + view.elementCount])))
                start += view.elementCount
            }
            try AdapterFile.write(directory: adapter, configuration: large, tensors: list, files: RealFiles())
        }
        let error = #expect(throws: LorikeetError.self) {
            try Merger(
                base: ModelSource.open(Self.llama), adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: .f16), files: RealFiles(),
                cpu: cpu
            ).write(to: folder())
        }
        #expect(error?.description.contains("is outside of float16's range") == true && error?.description.contains("bfloat16 or float32") == true)
    }
}
