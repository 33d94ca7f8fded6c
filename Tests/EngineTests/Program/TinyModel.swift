import LorikeetGround
import LorikeetDevices
import LorikeetJSON
import LorikeetModelFiles

@testable import LorikeetEngine

/// A Llama of odd sizes with random weights, made in memory.
enum TinyModel {
    static func configuration(
        layers: Int = 2, tied: Bool = true, hidden: Int = 24, intermediate: Int = 40, heads: Int = 3, headDimension: Int = 8
    ) throws -> ModelConfiguration {
        try ModelConfiguration(
            json: .object([
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": JSON(hidden), "intermediate_size": JSON(intermediate),
                "num_hidden_layers": .integer(Int64(layers)), "num_attention_heads": JSON(heads),
                "num_key_value_heads": 1, "head_dim": JSON(headDimension),
                "vocab_size": 53, "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 128,
                "tie_word_embeddings": .bool(tied), "hidden_act": "silu",
            ]), source: "test")
    }

    static func model(
        layers: Int = 2, lora: LoRASettings? = LoRASettings(r: 3, alpha: 6, targetModules: ["q_proj", "v_proj"]),
        storage: BaseStorage = .f32, threads: Int = 2
    ) throws -> Model {
        let model = try Compute(cpu: CPU(threads: threads)).randomModel(configuration(layers: layers), storage: storage, lora: lora, seed: 3)
        // B is not zero, so that every gradient is non-trivial.
        let values = model.adapters.floats(.values)
        for i in values.indices { values[i] += 0.05 * Float(Int(mix64(UInt64(i)) % 2001) - 1000) / 1000 }
        return model
    }

    static func tokens(_ count: Int, seed: UInt64 = 1) -> [Int32] {
        (0..<count).map { Int32(mix64(seed &* 1000 &+ UInt64($0)) % 53) }
    }

    /// Samples one behind the other, each a segment.
    static func pack(_ samples: [[Int32]], weight: Float = 1) -> TokenBatch {
        var batch = TokenBatch()
        for (number, sample) in samples.enumerated() {
            batch.append(sample, weight: weight, dropoutKeys: sample.indices.map { UInt32(number * 1000 + $0) })
        }
        return batch
    }
}
