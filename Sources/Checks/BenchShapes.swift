import LorikeetEngine
import LorikeetGround
import LorikeetJSON

extension Bench {
    /// A published model's configuration, for random weights.
    private struct Shape {
        let name: String
        let family: (type: String, architecture: String)
        let layers: Int
        let hidden: Int
        let intermediate: Int
        let heads: (query: Int, key: Int, size: Int)
        let vocabulary: Int
        let isTied: Bool
        /// Keys of its `config.json` beyond sizes; they win over the ones that most shapes share.
        var keys: JSONObject = [:]
    }

    private static let llama = (type: "llama", architecture: "LlamaForCausalLM")

    private static let table = [
        Shape(
            name: "smollm2-135m", family: llama, layers: 30, hidden: 576, intermediate: 1536, heads: (9, 3, 64), vocabulary: 49152, isTied: true),
        Shape(
            name: "llama-3.2-1b", family: llama, layers: 16, hidden: 2048, intermediate: 8192, heads: (32, 8, 64), vocabulary: 128256, isTied: true),
        Shape(
            name: "llama-7b", family: llama, layers: 32, hidden: 4096, intermediate: 11008, heads: (32, 32, 128), vocabulary: 32000, isTied: false),
        Shape(
            name: "qwen2.5-0.5b", family: ("qwen2", "Qwen2ForCausalLM"), layers: 24, hidden: 896, intermediate: 4864, heads: (14, 2, 64),
            vocabulary: 151936, isTied: true, keys: ["rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "max_position_embeddings": 32768]),
        Shape(
            name: "qwen3-8b", family: ("qwen3", "Qwen3ForCausalLM"), layers: 36, hidden: 4096, intermediate: 12288, heads: (32, 8, 128),
            vocabulary: 151936, isTied: false, keys: ["rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "max_position_embeddings": 40960]),
        Shape(
            name: "gemma3-4b", family: ("gemma3_text", "Gemma3ForCausalLM"), layers: 34, hidden: 2560, intermediate: 10240, heads: (8, 4, 256),
            vocabulary: 262208, isTied: true,
            keys: [
                "rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "rope_local_base_freq": 10000, "rope_scaling": ["rope_type": "linear", "factor": 8],
                "sliding_window": 1024, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh",
                "hidden_act": nil, "max_position_embeddings": 131072,
            ]),
    ]

    /// Shapes that `--shape` names.
    package static var shapes: [String] { table.map(\.name) }

    /// - Throws: exit 2 for a name that is not in `shapes`.
    package static func configuration(shape name: String) throws -> ModelConfiguration {
        guard let shape = table.first(where: { $0.name == name }) else {
            throw LorikeetError.input("no shape is called '\(name)'", at: "--shape", fix: "take one of \(shapes.joined(separator: ", "))")
        }
        var json: JSONObject = [
            "model_type": .string(shape.family.type), "architectures": [.string(shape.family.architecture)], "hidden_size": JSON(shape.hidden),
            "num_hidden_layers": JSON(shape.layers), "num_attention_heads": JSON(shape.heads.query), "num_key_value_heads": JSON(shape.heads.key),
            "head_dim": JSON(shape.heads.size), "intermediate_size": JSON(shape.intermediate), "vocab_size": JSON(shape.vocabulary),
            "tie_word_embeddings": .bool(shape.isTied), "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu",
            "max_position_embeddings": 8192,
        ]
        for (key, value) in shape.keys.entries { json[key] = value.isNull ? nil : value }
        return try ModelConfiguration(json: .object(json), source: name)
    }
}
