import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

@testable import LorikeetTraining
import MemoryFiles

extension FuzzTarget {
    private static let lora = LoRASettings(r: 2, alpha: 4, targetModules: ["q_proj"])
    private static let configuration = AdapterConfiguration(r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"])

    /// A model's folder: configuration against tensors, up to the step program's weights.
    static let model = FuzzTarget(name: "model") { bytes in
        let source = try ModelSource.open("m", files: MemoryFiles(folder: "m", bytes))
        _ = try TrainedLayout(lora, weights: source.configuration.family.weights())
    }

    static let adapter = FuzzTarget(name: "adapter") { bytes in
        let adapter = try AdapterFile.read(directory: "a", files: MemoryFiles(folder: "a", bytes))
        for (name, view) in adapter.tensors { _ = (adapter.settingsName(of: name), view.elementCount) }
        let adapters = try trained()
        do { try adapters.load(adapter) } catch { try Texts.expectSentence(error) }
    }

    /// A checkpoint whose check sums are right: what is then read is what somebody wrote with a program of his own.
    static let checkpoint = FuzzTarget(name: "checkpoint") { bytes in
        var disk = MemoryFiles(folder: "c/step-000002", bytes)
        sum(&disk, "c/step-000002/")
        let store = CheckpointStore(directory: "c", files: disk, adapterConfiguration: configuration)
        _ = try store.loadNewest(into: trained()) { _ in }
        _ = try CheckpointStore.recognisedBytes(in: "c", files: disk)
    }

    /// Puts the right check sums into `trainer_state.json`, where that is an object.
    private static func sum(_ disk: inout MemoryFiles, _ folder: String) {
        let place = folder + "trainer_state.json"
        guard let text = disk.contents[place], var state = (try? JSON.parse(text, source: ""))?.object else { return }
        var sums = JSONObject()
        for name in ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"] {
            sums[name] = disk.contents[folder + name].map { .string(ContentHash(of: $0).description) }
        }
        state["check_sums"] = .object(sums)
        sums["trainer_state.json"] = .string(ContentHash(of: Array(JSON.object(state).serialized().utf8)).description)
        state["check_sums"] = .object(sums)
        disk.contents[place] = Array(JSON.object(state).serialized().utf8)
    }

    /// What is trained of a small Llama.
    private static let layout: TrainedLayout? = {
        let json: JSON = [
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
        ]
        return (try? ModelConfiguration(json: json, source: "config.json")).flatMap { try? TrainedLayout(lora, weights: $0.family.weights()) }
    }()

    private static func trained() throws -> TrainedSet {
        guard let layout else { throw NoLayout() }
        return try TrainedSet(layout: layout)
    }

    private struct NoLayout: Error {}
}
