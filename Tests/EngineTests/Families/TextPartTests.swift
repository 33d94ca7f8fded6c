import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// The language model of models that see images, other parts of files, and names that training programs leave in them.
struct TextPartTests {
    /// A text model's files as those of the whole model.
    private func whole(
        _ family: any ModelFamily.Type, _ type: String, today: Bool = false, keys: [(String, JSON?)] = [],
        others: [String] = ["vision_tower.encoder.layers.3.self_attn.q_proj.bias", "multi_modal_projector.mm_soft_emb_norm.weight"]
    ) throws -> (path: String, files: FamilyFiles) {
        let plain = try FamilyFiles(family)
        var files = plain
        for tensor in plain.tensors {
            files.remove(tensor.name)
            let (from, to) = today ? ("model.", "model.language_model.") : ("model.", "language_model.model.")
            let name = tensor.name.hasPrefix(from) ? to + tensor.name.dropFirst(from.count) : (today ? "" : "language_model.") + tensor.name
            files.add(name, shape: tensor.shape, values: tensor.values)
        }
        for name in others { files.add((today ? "model." : "") + name, shape: [4]) }
        var text = plain.configuration.json.object ?? [:]
        text["tie_word_embeddings"] = nil
        var entries: [(String, JSON?)] = (plain.configuration.json.object ?? [:]).keys.map { ($0, nil) }
        let architecture = (type == "gemma3" ? "Gemma3" : "Mistral3") + "ForConditionalGeneration"
        entries += [("model_type", .string(type)), ("architectures", .array([.string(architecture)])), ("text_config", .object(text))]
        entries += [("vision_config", ["hidden_size": 16]), ("image_token_index", 10), ("dtype", "bfloat16")] + keys
        return (try files.directory(entries), plain)
    }

    @Test(arguments: [false, true]) func `the language model is read from both forms of names, and what is not used is named`(today: Bool) throws {
        let (path, plain) = try whole(Gemma3.self, "gemma3", today: today)
        let source = try ModelSource.open(path)
        for tensor in plain.tensors {
            let view = try #require(source.tensor(tensor.name))
            #expect((0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) } == tensor.values, "\(tensor.name)")
        }
        #expect(source.warnings.count == 1 && source.warnings[0].contains("2 tensors of the vision part"), "\(source.warnings)")
        // A merged model is one of text.
        let written = try source.configuration.written(type: "float16")
        #expect(written["model_type"] == "gemma3_text" && written["architectures"] == ["Gemma3ForCausalLM"] && written["vision_config"] == nil)
        #expect(written["tie_word_embeddings"] == true && written["dtype"] == "float16")
        _ = try ModelConfiguration(json: written, source: "written")
    }

    @Test(arguments: [(Ministral3.self, "ministral3"), (Mistral.self, "mistral")] as [(any ModelFamily.Type, String)])
    func `Mistral 3's text is of the type that it says`(family: any ModelFamily.Type, type: String) throws {
        let others = ["vision_tower.transformer.layers.0.attention.q_proj.weight", "multi_modal_projector.patch_merger.merging_layer.weight"]
        let source = try ModelSource.open(whole(family, "mistral3", others: others).path)
        #expect(source.configuration.values["model_type"] == .string(type))
        // Without a key of the whole, a head in the files is the head.
        #expect(source.configuration.values["tie_word_embeddings"] == false && source.warnings.count == 1)
    }

    @Test func `what the text part lacks or the rest has too much is refused or named`() throws {
        func text(_ keys: [(String, JSON?)] = [], others: [String] = []) -> String {
            let error = #expect(throws: LorikeetError.self) { try ModelSource.open(whole(Gemma3.self, "gemma3", keys: keys, others: others).path) }
            #expect(error?.exit == .unusableInput)
            return error?.description ?? ""
        }
        #expect(text(others: ["vision_tower.strange.weight"]).contains("'vision_tower.strange.weight'"))
        #expect(text([("text_config", "x")]).contains("text_config"))
        #expect(text([("text_config", ["model_type": "mixtral"])]).contains("'mixtral'"))
        #expect(text([("quantization_config", ["quant_method": "awq"])]).contains("awq"))
        let error = #expect(throws: LorikeetError.self) { try ModelConfiguration(json: ["model_type": "mistral3"], source: "c") }
        #expect(error?.description.contains("'text_config' is missing") == true)
        let warnings = try ModelSource.open(whole(Gemma3.self, "gemma3", keys: [("strange", 1)], others: []).path).warnings
        #expect(warnings.count == 1 && warnings[0].contains("'strange'"))
        // The class's defaults are the text's.
        #expect(try ModelConfiguration(json: ["model_type": "gemma3"], source: "c").vocabularySize == 262_208)
    }

    @Test func `a head of multi-token prediction is named and left`() throws {
        var files = try FamilyFiles(Qwen3.self)
        for name in ["mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight", "mtp.pre_fc_norm_hidden.weight"] { files.add(name, shape: [4]) }
        let warnings = try ModelSource.open(files.directory()).warnings
        #expect(warnings.count == 1 && warnings[0].contains("3 tensors of the head of multi-token prediction"))
        files.add("mtp.strange.weight", shape: [4])
        #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory()) }
    }

    @Test(arguments: FormatTests.families) func `biases in the files without a word in the configuration are refused, never dropped`(type: String) throws {
        for name in ["self_attn.q_proj.bias", "self_attn.o_proj.bias", "self_attn.qkv_proj.bias", "mlp.up_proj.bias", "mlp.gate_up_proj.bias"] {
            var files = try FamilyFiles(Families.named(modelType: type, in: "c"))
            let full = "model.layers.0." + name
            if files.tensors.contains(where: { $0.name == full }) { continue }
            files.add(full, shape: [8])
            let error = #expect(throws: LorikeetError.self, "\(full)") { try ModelSource.open(files.directory()) }
            #expect(error?.description.contains("'\(full)'") == true)
        }
    }

    @Test(arguments: [
        ("base_model.model.", "PEFT model"), ("transformer.", "larger model"), ("_orig_mod.", "compiled"), ("module.", "distributed"),
        ("_fsdp_wrapped_module.", "sharded"), ("_forward_module.", "training program"),
    ])
    func `names in a training program's module say what the file is and what to do`(prefix: String, word: String) throws {
        let plain = try FamilyFiles(Llama.self)
        var files = plain
        for tensor in plain.tensors {
            files.remove(tensor.name)
            files.add(prefix + tensor.name, shape: tensor.shape, values: tensor.values)
        }
        let error = #expect(throws: LorikeetError.self) { try ModelSource.open(files.directory()) }
        let text = error?.description ?? ""
        #expect(error?.exit == .unusableInput && text.contains(word) && text.contains("without '\(prefix)'"), "\(text)")
        // Around a part of the model.
        var inner = plain
        inner.remove("model.layers.1.mlp.up_proj.weight")
        inner.add("model.layers.1.\(prefix)mlp.up_proj.weight", shape: [40, 24])
        #expect(throws: LorikeetError.self) { try ModelSource.open(inner.directory()) }
    }
}
