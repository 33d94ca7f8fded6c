import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// Adapters as PEFT writes them, with its less common settings: merged, they give PEFT's own weights; beside the base, the merged model's logits.
struct AdapterReferenceTests {
    private static let folder = URL(fileURLWithPath: MergeTests.llama).deletingLastPathComponent().path + "/adapters"
    private let cpu = CPU(threads: 2)
    private let files = RealFiles()

    private func merge(_ adapter: String) throws -> ModelSource {
        let directory = Temporary.folder()
        try Merger(
            base: ModelSource.open(MergeTests.llama), adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: .f32), files: files,
            cpu: cpu
        ).write(to: directory)
        return try ModelSource.open(directory)
    }

    private func floats(_ view: TensorView) -> [Float] {
        (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }

    @Test(arguments: ["patterns", "layers", "expression"]) func `a merged model has the weights of PEFT's merge_and_unload`(name: String) throws {
        let folder = Self.folder + "/" + name
        let (base, merged) = (try ModelSource.open(MergeTests.llama), try merge(folder))
        let expected = try SafetensorsFile(path: folder + "/expected.safetensors")
        for declaration in base.configuration.family.weights() {
            let (before, after) = (floats(try declaration.view(in: base)), floats(try declaration.view(in: merged)))
            guard let row = expected.tensors[declaration.tensor] else {
                #expect(before == after, "\(declaration.tensor) changed")
                continue
            }
            let columns = declaration.shape[1]
            let (ours, theirs) = (Array(after[columns..<2 * columns]), floats(row))
            #expect(before != after)
            // Sums of at most eight products.
            for (a, b) in zip(ours, theirs) { #expect(abs(a - b) <= 1e-6 * max(1, abs(b)), "\(declaration.tensor)") }
        }
        #expect(expected.names.allSatisfy { merged.tensor($0) != nil })
    }

    @Test(arguments: ["patterns", "layers", "expression"]) func `beside the base an adapter gives the merged model's logits`(name: String) throws {
        let (base, file) = (try ModelSource.open(MergeTests.llama), try AdapterFile.read(directory: Self.folder + "/" + name))
        let lora = try LoRASettings(file, weights: base.configuration.family.weights())
        let model = try Compute(cpu: cpu).model(base, storage: .stored, lora: lora)
        try model.loadAdapter(file)
        let merged = try Compute(cpu: cpu).model(merge(Self.folder + "/" + name), storage: .stored, lora: nil)
        func logits(_ model: Model) throws -> [Float] {
            try Session(model: model, maximumTokens: 32).logits(TokenBatch(sequence: (0..<20).map { Int32(($0 * 37) % 157 + 3) }), rows: Array(0..<20))
        }
        let (a, b) = (try logits(model), try logits(merged))
        let largest = b.reduce(0) { max($0, abs($1)) }
        #expect(a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= 1e-4 * largest })
    }

    /// A copy of an adapter whose settings a test may change.
    private func changed(_ name: String, _ keys: [(String, JSON?)]) throws -> String {
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        try files.writeDurably(files.read(Self.folder + "/\(name)/adapter_model.safetensors"), to: directory + "/adapter_model.safetensors")
        let path = Self.folder + "/\(name)/adapter_config.json"
        var json = try #require(JSON.parse(files.read(path), source: path).object)
        for (key, value) in keys { json[key] = value }
        try files.writeDurably(JSON.object(json).serialized(), to: directory + "/adapter_config.json")
        return directory
    }

    @Test(
        arguments: [
            ("layers", "layers_to_transform", [0]), ("layers", "target_modules", ["q_proj"]), ("layers", "layers_pattern", "h"),
            ("layers", "exclude_modules", ["down_proj"]), ("expression", "target_modules", #"model\.layers\.\d+\.self_attn\.k_proj"#),
            ("expression", "exclude_modules", #".*gate_proj"#),
        ] as [(String, String, JSON)])
    func `tensors that the settings leave out are refused by name, not merged`(name: String, key: String, value: JSON) throws {
        let adapter = try changed(name, [(key, value)])
        let error = #expect(throws: LorikeetError.self) { try merge(adapter) }
        #expect(error?.exit == .unusableInput && error?.description.contains("model.layers.") == true, "\(error?.description ?? "")")
    }

    @Test func `a rank that the tensors do not have is refused by the tensor's name`() throws {
        let adapter = try changed("layers", [("rank_pattern", ["layers.2.mlp.down_proj": 4])])
        let error = #expect(throws: LorikeetError.self) { try merge(adapter) }
        #expect(error?.description.contains("layers.2.mlp.down_proj.lora_A.weight' has shape [2, 128], not [4, 128]") == true, "\(error?.description ?? "")")
    }

    @Test func `a scale of a single module counts where two modules share a product`() throws {
        // q and v are joint: another alpha for v alone changes v's rows only.
        let path = try changed("patterns", [("alpha_pattern", ["v_proj": 100])])
        let (first, second) = (try merge(Self.folder + "/patterns"), try merge(path))
        for (name, same) in [("model.layers.1.self_attn.v_proj.weight", false), ("model.layers.1.mlp.up_proj.weight", true)] {
            let (a, b) = (try #require(first.tensor(name)), try #require(second.tensor(name)))
            #expect((floats(a) == floats(b)) == same, "\(name)")
        }
    }
}
