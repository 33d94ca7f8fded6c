import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// Bases in the quantised forms that people have: the reference libraries' expanded weights, bit for bit, and merged models that compute the same.
struct QuantisedBaseTests {
    static let folder = URL(fileURLWithPath: MergeTests.llama).deletingLastPathComponent().path + "/quantised"
    static let cases = ["nf4_double", "nf4_plain", "nf4_half", "nf4_blocks", "fp8_blocks", "fp8_rows", "fp8_tensor"]
    private let cpu = CPU(threads: 2)
    private let files = RealFiles()

    private func floats(_ view: TensorView) -> [Float] {
        (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }

    @Test(arguments: cases) func `weights are expanded as the reference libraries do it, bit for bit`(name: String) throws {
        let source = try ModelSource.open(Self.folder + "/" + name)
        let expected = try SafetensorsFile(path: Self.folder + "/\(name)/expected.safetensors")
        #expect(expected.names.count == 7 && source.warnings.contains { $0.contains("7 weights are") })
        for tensor in try TensorStream(source, linearsThrough: .stored, cpu: cpu).tensors() {
            guard let row = expected.tensors[tensor.description.name] else { continue }
            let columns = tensor.description.columns
            var (alone, both) = ([Float](repeating: 0, count: columns), [Float](repeating: 0, count: 3 * columns))
            let read = try tensor.open()
            try alone.withUnsafeMutableBytes { bytes in try bytes.baseAddress.map { try read(1..<2, $0) } }
            try both.withUnsafeMutableBytes { bytes in try bytes.baseAddress.map { try read(0..<3, $0) } }
            #expect(alone == floats(row), "\(tensor.description.name)")
            #expect(Array(both[columns..<2 * columns]) == alone)
            // What computing reads.
            let store = try loadStore(view: try #require(source.tensor(tensor.description.name)), storage: .stored, cpu: cpu)
            store.expand(row: 1, columns: 0..<columns, into: &alone)
            #expect(alone == floats(row))
        }
    }

    @Test func `bitsandbytes' codes stay as they are where the form is ours`() throws {
        let source = try ModelSource.open(Self.folder + "/nf4_double")
        let view = try #require(source.tensor("model.layers.0.self_attn.q_proj.weight"))
        for storage in [BaseStorage.stored, .nf4] {
            let store = try #require(try loadStore(view: view, storage: storage, cpu: cpu) as? NF4Store)
            #expect(store.codes == Array(view.bytes))
            #expect(store.storedBytes == storage.bytes(rows: store.rows, columns: store.columns, stored: view.type))
        }
        #expect(source.hasOwnCodes)
    }

    /// B A with numbers of either sign on two linears.
    private func adapter() throws -> AdapterFile {
        let directory = Temporary.folder()
        var tensors: [(name: String, shape: [Int], values: [Float])] = []
        for (module, rows) in [("self_attn.q_proj", 64), ("mlp.up_proj", 128)] {
            let name = "base_model.model.model.layers.0.\(module)"
            tensors.append((name + ".lora_A.weight", [2, 64], (0..<128).map { Float($0 % 11 - 5) * 0.03 }))
            tensors.append((name + ".lora_B.weight", [rows, 2], (0..<2 * rows).map { Float($0 % 7 - 3) * 0.05 }))
        }
        let flat = tensors.flatMap(\.values)
        try flat.withUnsafeBufferPointer { all in
            var start = 0
            let list = tensors.map { tensor in
                defer { start += tensor.values.count }
                return (name: tensor.name, shape: tensor.shape, values: UnsafeBufferPointer(rebasing: all[start..<start + tensor.values.count]))
            }
            try AdapterFile.write(
                directory: directory, configuration: AdapterConfiguration(r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj", "up_proj"]),
                tensors: list, files: files)
        }
        return try AdapterFile.read(directory: directory)
    }

    private func logits(_ source: ModelSource, _ adapter: AdapterFile?, _ storage: BaseStorage) throws -> [Float] {
        let lora = try adapter.map { try LoRASettings($0, weights: source.configuration.family.weights()) }
        let model = try Compute(cpu: cpu).model(source, storage: storage, lora: lora)
        if let adapter { try model.loadAdapter(adapter) }
        return try Session(model: model, maximumTokens: 16).logits(TokenBatch(sequence: (0..<12).map { Int32($0 * 3 % 37 + 3) }), rows: Array(0..<12))
    }

    @Test(arguments: cases) func `a merged model is the expanded base plus the adapter`(name: String) throws {
        let (base, adapter, directory) = (try ModelSource.open(Self.folder + "/" + name), try adapter(), Temporary.folder())
        try Merger(base: base, adapter: adapter, settings: MergeSettings(type: .f32), files: files, cpu: cpu).write(to: directory)
        let merged = try ModelSource.open(directory)
        #expect(merged.configuration.json["quantization_config"] == nil && merged.warnings.isEmpty)
        let (a, b) = (try logits(base, adapter, .stored), try logits(merged, nil, .stored))
        let largest = b.reduce(0) { max($0, abs($1)) }
        #expect(zip(a, b).allSatisfy { abs($0 - $1) <= 1e-4 * largest })
        // The adapter counts, and so does rounding to NF4 where the base is something else.
        #expect(zip(try logits(base, nil, .stored), b).contains { abs($0 - $1) > 0.01 * largest })
        #expect(try (logits(base, adapter, .nf4) == a) == ["nf4_double", "nf4_half"].contains(name))
    }

    // MARK: refusals

    /// A copy of a case whose configuration and tensors' names a test may change. Names keep their length.
    private func changed(_ name: String, _ edit: (inout JSONObject) -> Void, rename: (from: String, to: String)? = nil) throws -> String {
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        var json = try #require(JSON.parse(files.read(Self.folder + "/\(name)/config.json"), source: "c").object)
        edit(&json)
        try files.writeDurably(JSON.object(json).serialized(), to: directory + "/config.json")
        var bytes = Data(try files.read(Self.folder + "/\(name)/model.safetensors"))
        if let rename {
            #expect(rename.from.utf8.count == rename.to.utf8.count)
            while let range = bytes.firstRange(of: Data(rename.from.utf8)) { bytes.replaceSubrange(range, with: Data(rename.to.utf8)) }
        }
        try files.writeDurably(Array(bytes), to: directory + "/model.safetensors")
        return directory
    }

    private func refusal(_ directory: String) -> String {
        let error = #expect(throws: LorikeetError.self) { try ModelSource.open(directory) }
        #expect(error?.exit == .unusableInput)
        return error?.description ?? ""
    }

    @Test(
        arguments: [
            (["quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"], "FP4"),
            (["quant_method": "bitsandbytes", "load_in_4bit": true], "FP4"), (["quant_method": "bitsandbytes", "load_in_8bit": true], "LLM.int8()"),
            (["quant_method": "gptq", "bits": 4], "GPTQ"), (["quant_method": "awq"], "AWQ"), (["quant_method": "hqq"], "HQQ"),
            (["quant_method": "aqlm"], "AQLM"), (["quant_method": "compressed-tensors", "format": "pack-quantized"], "pack-quantized"),
            (["quant_method": "mxfp4"], "MXFP4"), (["quant_method": "torchao"], "torchao"), (["quant_method": "modelopt", "quant_algo": "NVFP4"], "NVFP4"),
            (["quant_method": .null], "does not name"), (["quant_method": "something new"], "something new"),
        ] as [(JSON, String)])
    func `another method is refused by its name`(configuration: JSON, words: String) throws {
        let text = refusal(try changed("nf4_plain") { $0["quantization_config"] = configuration })
        #expect(text.contains(words) && text.contains("not read"), "\(text)")
    }

    @Test func `a configuration of MLX, and one that no tensor bears out, are called what they are`() throws {
        #expect(refusal(try changed("nf4_plain") { $0["quantization"] = ["group_size": 64, "bits": 4] }).contains("MLX"))
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        try files.writeDurably(files.read(MergeTests.llama + "/model.safetensors"), to: directory + "/model.safetensors")
        var json = try #require(JSON.parse(files.read(MergeTests.llama + "/config.json"), source: "c").object)
        json["quantization_config"] = ["quant_method": "fp8"]
        try files.writeDurably(JSON.object(json).serialized(), to: directory + "/config.json")
        #expect(refusal(directory).contains("no tensor is"))
    }

    @Test(
        arguments: [
            ("nf4_double", "q_proj.weight.absmax", "q_proj.weight.abcmax", "lacks the tensor 'model.layers.0.self_attn.q_proj.weight.absmax'"),
            ("nf4_double", "q_proj.weight.quant_map", "q_proj.weight.quant_mop", "q_proj.weight.quant_map'"),
            ("nf4_double", "bitsandbytes__nf4", "bitsandbytes__fp4", "FP4"), ("nf4_double", #""blocksize": 64"#, #""blocksize": 32"#, "blocks"),
            ("nf4_double", #""shape": [64, 64]"#, #""shape": [64, 65]"#, "quant_state"),
            ("nf4_double", #""dtype": "bfloat16""#, #""dtype": "bfloat61""#, "quant_state"),
            ("fp8_blocks", "up_proj.weight_scale_inv", "up_proj.weight_scale_vni", "up_proj.weight_scale_vni"),
            ("fp8_rows", "q_proj.input_scale", "q_proj.input_sizes", "q_proj.input_sizes"),
        ])
    func `a part that is missing or does not fit is named`(name: String, from: String, to: String, words: String) throws {
        let text = refusal(try changed(name, { _ in }, rename: (from, to)))
        #expect(text.contains(words), "\(text)")
    }

    @Test func `scales that do not fit the blocks are refused by name`() throws {
        let text = refusal(
            try changed("fp8_blocks") { $0["quantization_config"] = ["quant_method": "fp8", "weight_block_size": [128, 128]] })
        #expect(text.contains("weight_scale_inv") && text.contains("do not fit"), "\(text)")
    }
}
