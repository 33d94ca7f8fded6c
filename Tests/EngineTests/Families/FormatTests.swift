import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// Every family of the table, in both file formats.
struct FormatTests {
    /// Names, so that a test's arguments can be shown.
    static let families = Families.table.map { $0.huggingFace.modelType }
    static let withGGUF = Families.table.filter { $0.gguf != nil }.map { $0.huggingFace.modelType }

    private func family(_ name: String) throws -> any ModelFamily.Type { try Families.named(modelType: name, in: "config.json") }

    private func values(_ source: ModelSource, _ name: String) throws -> [Float] {
        let view = try #require(source.tensor(name))
        let floats = try WeightTable.floats(view)
        return (0..<view.elementCount).map { floats.pointer(as: Float.self)[$0] }
    }

    @Test(arguments: families) func `a directory's tensors are those that were written`(name: String) throws {
        let files = try FamilyFiles(family(name))
        let source = try ModelSource.open(files.directory())
        for tensor in files.tensors { #expect(try values(source, tensor.name) == tensor.values, "\(tensor.name)") }
        #expect(source.warnings.isEmpty)
    }

    /// Reading is the inverse of writing: one table does both.
    @Test(arguments: withGGUF, [true, false]) func `a model written as a GGUF and read again is the same`(name: String, tied: Bool) throws {
        let files = try FamilyFiles(family(name), ["tie_word_embeddings": .bool(tied)])
        let source = try ModelSource.open(files.gguf())
        #expect(source.warnings.isEmpty, "\(source.warnings)")
        for tensor in files.tensors {
            let found = try values(source, tensor.name)
            // A norm that is stored as 1 + w loses the last bits of a small w.
            #expect(zip(found, tensor.values).allSatisfy { abs($0 - $1) <= 1.2e-7 } && found.count == tensor.values.count, "\(tensor.name)")
        }
        for entry in files.configuration.values.entries where entry.key != "architectures" {
            let read = source.configuration.values[entry.key]
            #expect(read == entry.value || read?.double == entry.value.double, "\(entry.key): \(String(describing: read))")
        }
    }

    @Test func `a scaling that the format keeps as a tensor is read from it`() throws {
        let scaling: JSON = [
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        ]
        let files = try FamilyFiles(Llama.self, ["rope_theta": 500_000.0, "rope_scaling": scaling])
        let source = try ModelSource.open(files.gguf())
        #expect(source.configuration.json["rope_scaling"] == scaling)
        let (read, written) = (source.configuration.family as? Llama, files.configuration.family as? Llama)
        #expect(read != nil && read?.rope == written?.rope)
    }

    @Test func `factors that no scaling gives are used, and no config json is made of them`() throws {
        let factors: [Float] = [1, 3, 2, 7]
        let source = try ModelSource.open(FamilyFiles(Llama.self).gguf(extra: [("rope_freqs.weight", [4], factors)]))
        let plain = try #require(FamilyFiles(Llama.self).configuration.family as? Llama).rope.inverseFrequencies
        let divided = try #require(source.configuration.family as? Llama).rope.inverseFrequencies
        #expect(zip(zip(plain, factors), divided).allSatisfy { abs($0.0 / $0.1 - $1) <= 2e-7 * $1 })
        let error = #expect(throws: LorikeetError.self) { try source.configuration.written(type: nil) }
        #expect(error?.exit == .unusableInput && error?.description.contains("rope_freqs.weight") == true)
        for (shape, values) in [([3], [1, 1, 1] as [Float]), ([4], [1, 0, 1, 1]), ([4], [1, .nan, 1, 1])] {
            let path = try FamilyFiles(Llama.self).gguf(extra: [("rope_freqs.weight", shape, values)])
            #expect(throws: LorikeetError.self) { try ModelSource.open(path) }
        }
    }

    @Test(arguments: families) func `a made-up tensor is refused by its name`(name: String) throws {
        for extra in ["model.layers.0.self_attn.strange_proj.weight", "model.layers.2.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.strange"] {
            var files = try FamilyFiles(family(name))
            files.add(extra, shape: [8])
            let error = #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory()) }
            #expect(error?.exit == .unusableInput && error?.description.contains("'\(extra)'") == true, "\(error?.description ?? "")")
        }
    }

    @Test(arguments: withGGUF) func `a made-up tensor in a GGUF is refused by its name`(name: String) throws {
        let files = try FamilyFiles(family(name))
        let path = try files.gguf(extra: [("blk.0.strange.weight", [8], [Float](repeating: 1, count: 8))])
        let error = #expect(throws: LorikeetError.self) { try ModelSource.open(path) }
        #expect(error?.exit == .unusableInput && error?.description.contains("'blk.0.strange.weight'") == true, "\(error?.description ?? "")")
    }

    @Test(arguments: withGGUF) func `a window in a GGUF's metadata is used, or refused by its name`(name: String) throws {
        let files = try FamilyFiles(family(name))
        // With a window an OLMo 2 is an OLMo 3.
        guard name != "olmo2" else { return }
        let format = try family(name).gguf
        let key = try #require(format).architecture + ".attention.sliding_window"
        if ["gemma2", "gemma3_text", "phi3", "olmo3"].contains(name) {
            #expect(try ModelSource.open(files.gguf(metadata: [(key, .unsigned(64))])).configuration.values["sliding_window"]?.int == 64)
            return
        }
        let error = #expect(throws: LorikeetError.self) { try ModelSource.open(files.gguf(metadata: [(key, .unsigned(64))])) }
        #expect(error?.exit == .unusableInput && error?.what.contains("'\(key)'") == true, "\(String(describing: error))")
        #expect(try ModelSource.open(files.gguf(metadata: [(key, .unsigned(0))])).warnings.isEmpty)
    }

    @Test(arguments: families) func `a tensor that is missing or of another shape is refused by its name`(name: String) throws {
        let whole = try FamilyFiles(family(name))
        for tensor in [whole.tensors[0], whole.tensors[whole.tensors.count / 2], whole.tensors[whole.tensors.count - 1]] {
            var files = whole
            files.remove(tensor.name)
            let missing = #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory()) }
            #expect(missing?.description.contains("'\(tensor.name)'") == true, "\(missing?.description ?? "")")
            files.add(tensor.name, shape: [tensor.shape[0] + 1] + tensor.shape.dropFirst())
            let misshapen = #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory()) }
            #expect(misshapen?.description.contains("'\(tensor.name)' has shape") == true, "\(misshapen?.description ?? "")")
        }
        for (key, value) in [("num_hidden_layers", JSON(100)), ("num_hidden_layers", 1), ("hidden_size", 32), ("vocab_size", 54)] {
            let error = #expect(throws: LorikeetError.self, "\(key)") { try ModelSource.open(whole.directory([(key, value)])) }
            #expect(error?.exit == .unusableInput)
        }
    }

    // MARK: names

    @Test func `a fused matrix is cut into the tensors that its lines name, in the table's order`() throws {
        let names = TensorNames([
            TensorRule("layers.{layer}.b", "fused.{layer}"), TensorRule("layers.{layer}.a", "fused.{layer}"), TensorRule("whole", "w", endings: [""]),
        ])
        #expect(names.inFile("layers.7.a.weight")?.name == "fused.7.weight" && names.inFile("layers.7.a.weight")?.rule == 1)
        #expect(names.inFamily("fused.12.bias").map(\.name) == ["layers.12.b.bias", "layers.12.a.bias"])
        #expect(names.inFile("whole")?.name == "w" && names.inFile("whole.weight") == nil)
        for other in ["layers.07.a.weight", "layers..a.weight", "layers.x.a.weight", "layers.1.a.strange", "layers.1.a"] {
            #expect(names.inFile(other) == nil, "\(other)")
        }
    }

    @Test func `every transform and its inverse cancel`() throws {
        // Two heads of three pairs: rows of the file in the family's order.
        let order = RowPermutation(heads: 2)
        for rows in [4, 8, 12, 20] {
            #expect((0..<rows).map { order.sourceRow(of: order.row(ofSource: $0, rows: rows), rows: rows) } == Array(0..<rows))
        }
    }
}
