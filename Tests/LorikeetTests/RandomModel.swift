import LorikeetGround
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetJSON
import LorikeetModelFiles

/// A small model with random weights, written as a Hugging Face directory that is removed with the value.
final class RandomModel {
    let directory: String
    let source: ModelSource

    /// - Parameters:
    ///   - family: the `model_type`.
    ///   - numbers: keys of config.json beside the fixed ones.
    ///   - type: of every tensor.
    ///   - change: may replace a tensor's values before they are written.
    init(_ numbers: [(String, Int)], family: String = "llama", type: ElementType = .f32, change: (String, inout [Float]) -> Void = { _, _ in }) throws {
        var config: JSONObject = [
            "model_type": .string(family), "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 512,
            "tie_word_embeddings": true, "hidden_act": "silu",
        ]
        // Keys that these families have under another name.
        if family.hasPrefix("gemma") { config["hidden_act"] = nil }
        if family == "ministral3" { config["rope_theta"] = nil }
        // Its own default, 1, makes of each row of weights nearly a one and zeros, which no 16 bits hold well.
        if family == "granite" { config["attention_multiplier"] = 0.125 }
        for (key, value) in numbers { config[key] = JSON(value) }
        directory = FileManager.default.temporaryDirectory.appending(path: "lorikeet-model-" + UUID().uuidString).path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try Data(JSON.object(config).serialized().utf8).write(to: URL(fileURLWithPath: directory + "/config.json"))
        let weights = try ModelConfiguration(json: .object(config), source: "test").family.weights()
        let writer = try SafetensorsWriter(
            path: directory + "/model.safetensors", tensors: weights.map { ($0.tensor, type, $0.shape) })
        for (number, declaration) in weights.enumerated() {
            let spread = declaration.shape.count == 1 ? 0 : 1.7 / Float(declaration.shape[1]).squareRoot()
            var values = (0..<declaration.shape.reduce(1, *)).map { i in
                spread == 0 ? 1 : uniform(UInt64(number) << 40 | UInt64(i)) * spread
            }
            change(declaration.tensor, &values)
            var bytes = [UInt8](repeating: 0, count: values.count * type.blockBytes)
            _ = bytes.withUnsafeMutableBytes { to in to.baseAddress.map { encode(values, count: values.count, as: type, into: $0) } }
            try bytes.withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        source = try ModelSource.open(directory)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}
