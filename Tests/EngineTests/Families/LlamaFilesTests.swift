import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// What stands in Llama's files beside a plain model.
struct LlamaFilesTests {
    private func refusal(_ files: FamilyFiles, _ keys: [(String, JSON?)] = []) throws -> String {
        let error = #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory(keys)) }
        #expect(error?.exit == .unusableInput)
        return error?.description ?? ""
    }

    @Test func `biases that the configuration does not name are refused`() throws {
        var files = try FamilyFiles(Llama.self)
        files.add("model.layers.0.self_attn.q_proj.bias", shape: [32])
        let text = try refusal(files)
        #expect(text.contains("'model.layers.0.self_attn.q_proj.bias'") && text.contains("attention_bias"), "\(text)")
    }

    @Test func `biases of q and k stand in Hugging Face's order, from a GGUF too`() throws {
        let files = try FamilyFiles(Llama.self, ["attention_bias": true])
        let source = try ModelSource.open(files.gguf())
        let name = "model.layers.1.self_attn.k_proj.bias"
        let floats = try WeightTable.floats(#require(source.tensor(name)))
        let wanted = try #require(files.tensors.first { $0.name == name }).values
        #expect(wanted.count == 16 && (0..<16).map { floats.pointer(as: Float.self)[$0] } == wanted)
    }

    @Test func `buffers of old files are ignored by name`() throws {
        var files = try FamilyFiles(Llama.self)
        files.add("model.layers.1.self_attn.rotary_emb.inv_freq", shape: [4])
        #expect(throws: Never.self) { try ModelSource.open(files.directory()) }
        files.add("model.layers.1.self_attn.rotary_emb.strange", shape: [4])
        #expect(try refusal(files).contains("rotary_emb.strange"))
    }

    @Test func `a head beside a tied embedding is its copy, or refused`() throws {
        var files = try FamilyFiles(Llama.self, ["tie_word_embeddings": true])
        let table = try #require(files.tensors.first { $0.name == "model.embed_tokens.weight" })
        files.add("lm_head.weight", shape: table.shape, values: table.values)
        #expect(throws: Never.self) { try ModelSource.open(files.directory()) }
        files.remove("lm_head.weight")
        files.add("lm_head.weight", shape: table.shape, values: table.values.map { $0 * 2 })
        #expect(try refusal(files).contains("tie_word_embeddings"))
    }

    @Test func `no head and no word of a tie: the sentence says which key it takes`() throws {
        var files = try FamilyFiles(Llama.self)
        files.remove("lm_head.weight")
        let text = try refusal(files)
        #expect(text.contains("'lm_head.weight'") && text.contains("tie_word_embeddings"), "\(text)")
    }

    @Test(arguments: [
        ("_orig_mod.model.norm.weight", "compiled"), ("model.layers.0.mlp.up_proj.weight.absmax", "bitsandbytes"),
        ("model.layers.0.mlp.up_proj.qweight", "GPTQ"), ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "adapter"),
    ])
    func `files that are something else are called what they are`(name: String, word: String) throws {
        var files = try FamilyFiles(Llama.self)
        files.add(name, shape: [8])
        #expect(try refusal(files).contains(word))
        files.remove("model.norm.weight")
        #expect(try refusal(files).contains(word))
    }

    @Test func `quantised weights are refused by their method`() throws {
        let files = try FamilyFiles(Llama.self)
        let text = try refusal(files, [("quantization_config", ["quant_method": "gptq", "bits": 4])])
        #expect(text.contains("gptq") && text.contains("quantization_config"))
    }

    // MARK: GGUF

    @Test func `metadata that is not what the model is computed with is refused by its key`() throws {
        let files = try FamilyFiles(Llama.self)
        for (key, value) in [
            ("llama.expert_count", GGUFValue.unsigned(8)), ("llama.attention.value_length", .unsigned(16)), ("llama.rope.dimension_count", .unsigned(7)),
            ("llama.embedding_length", .string("24")), ("llama.attention.layer_norm_rms_epsilon", .float(0)), ("llama.block_count", .unsigned(5000)),
        ] {
            let error = #expect(throws: LorikeetError.self, "\(key)") { try ModelSource.open(files.gguf(metadata: [(key, value)])) }
            let name = key.replacingOccurrences(of: "llama.", with: "")
            let known = ["block_count": "num_hidden_layers", "attention.layer_norm_rms_epsilon": "rms_norm_eps"][name] ?? name
            #expect(error?.exit == .unusableInput && error?.description.contains(known) == true, "\(error?.description ?? "")")
        }
        for key in ["llama.block_count", "llama.context_length", "llama.attention.layer_norm_rms_epsilon"] {
            let error = #expect(throws: LorikeetError.self) { try ModelSource.open(files.gguf(metadata: [(key, nil)])) }
            #expect(error?.description.contains("'\(key)' is missing") == true)
        }
        // A head of one dimension has none to rotate; it was a trap.
        let single = ["llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count"].map { ($0, GGUFValue.unsigned(1)) }
        let flat = #expect(throws: LorikeetError.self) { try ModelSource.open(files.gguf(metadata: single)) }
        #expect(flat?.exit == .unusableInput && flat?.description.contains("'llama.rope.dimension_count'") == true, "\(flat?.description ?? "")")
        let split = #expect(throws: LorikeetError.self) { try ModelSource.open(files.gguf(metadata: [("split.count", .unsigned(3))])) }
        #expect(split?.description.contains("one of 3 parts") == true)
        let source = try ModelSource.open(files.gguf(metadata: [("llama.strange", .unsigned(1))]))
        #expect(source.warnings.count == 1 && source.warnings[0].contains("'llama.strange'"))
    }

    @Test func `a name or key that stands twice, and tensors that overlap, are refused`() throws {
        let files = try FamilyFiles(Llama.self)
        let path = try files.gguf()
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        // Renaming one of two names of the same length makes them one.
        for (from, to, word) in [("blk.0.ffn_gate", "blk.1.ffn_gate", "stands twice"), ("llama.block_count", "llama.block_count", "")] where from != to {
            var changed = bytes
            let range = try #require(changed.firstRange(of: Data(from.utf8)))
            changed.replaceSubrange(range, with: Data(to.utf8))
            try changed.write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: LorikeetError.self) { try GGUFFile(path: path) }
            #expect(error?.description.contains(word) == true, "\(error?.description ?? "")")
        }
        // The second tensor's offset (the last 8 bytes of its info) becomes the first's.
        let second = try #require(bytes.firstRange(of: Data("blk.0.attn_norm.weight".utf8)))
        var overlapping = bytes
        let place = second.upperBound + 4 + 8 + 4
        overlapping.replaceSubrange(place..<place + 8, with: Data(count: 8))
        try overlapping.write(to: URL(fileURLWithPath: path))
        let error = #expect(throws: LorikeetError.self) { try GGUFFile(path: path) }
        #expect(error?.description.contains("overlap") == true, "\(error?.description ?? "")")
    }
}
