import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

@testable import LorikeetEngine

/// A small random model of a family, written as files: a Hugging Face directory, or a GGUF by the family's own table, the other way.
struct FamilyFiles {
    let configuration: ModelConfiguration
    /// By the family's names, in the order of the forward pass.
    private(set) var tensors: [(name: String, shape: [Int], values: [Float])]

    /// Sizes that every family's `config.json` names alike; odd ones, so that no two are confused.
    static let sizes: JSONObject = [
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "vocab_size": 53, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "query_pre_attn_scalar": 8,
    ]

    /// - Parameter keys: of `config.json`, beside the sizes.
    init(_ family: any ModelFamily.Type, _ keys: JSONObject = [:]) throws {
        var json = Self.sizes
        let type = family.huggingFace.modelType
        if type != "gemma2", type != "gemma3_text" { json["query_pre_attn_scalar"] = nil }
        // llama.cpp's architecture of it has no window.
        if type == "mistral" { json["sliding_window"] = .null }
        if type == "ministral3" {
            json["rope_theta"] = nil
            json["rope_parameters"] = [
                "rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 1.0, "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            ]
        }
        json["model_type"] = .string(type)
        for entry in keys.entries { json[entry.key] = entry.value }
        configuration = try ModelConfiguration(json: .object(json), source: "test")
        tensors = configuration.family.weights().enumerated().map { number, declaration in
            let values = (0..<declaration.shape.reduce(1, *)).map { i in
                Float(mix64(UInt64(number) << 32 | UInt64(i)) >> 40) / Float(1 << 24) - 0.5
            }
            return (declaration.tensor, declaration.shape, values)
        }
    }

    mutating func add(_ name: String, shape: [Int], values: [Float]? = nil) {
        tensors.append((name, shape, values ?? [Float](repeating: 0.25, count: shape.reduce(1, *))))
    }

    mutating func remove(_ name: String) { tensors.removeAll { $0.name == name } }

    static func folder() throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-family-" + UUID().uuidString).path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// - Parameter keys: of the `config.json` on disk; nil removes a key.
    func directory(_ keys: [(String, JSON?)] = []) throws -> String {
        let path = try Self.folder()
        var json = configuration.json.object ?? [:]
        for (key, value) in keys { json[key] = value }
        try Data(JSON.object(json).serialized().utf8).write(to: URL(fileURLWithPath: path + "/config.json"))
        let writer = try SafetensorsWriter(path: path + "/model.safetensors", tensors: tensors.map { ($0.name, .f32, $0.shape) })
        for tensor in tensors { try tensor.values.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
        return path
    }

    /// The model as a GGUF.
    ///
    /// - Parameters:
    ///   - metadata: beside what the table gives; nil removes a key.
    ///   - extra: tensors by the file's names.
    func gguf(metadata: [(String, GGUFValue?)] = [], extra: [(name: String, shape: [Int], values: [Float])] = []) throws -> String {
        guard let format = type(of: configuration.family).gguf else { throw LorikeetError.input("no GGUF of this family") }
        var keys = try format.metadata(of: configuration.values)
        for (key, value) in metadata {
            keys.removeAll { $0.key == key }
            if let value { keys.append((key, value)) }
        }
        var tensors = try inFile(TensorNames(format.tensors)) + extra
        for tensor in format.ropeTensors(of: configuration.values) { tensors.append((tensor.name, [tensor.values.count], tensor.values)) }
        let path = try Self.folder() + "/model.gguf"
        try GGUFBytes.file(metadata: keys, tensors: tensors).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// The tensors as the file has them: fused, permuted, with an offset.
    private func inFile(_ names: TensorNames) throws -> [(name: String, shape: [Int], values: [Float])] {
        var result: [(name: String, shape: [Int], values: [Float])] = []
        for tensor in tensors {
            guard let place = names.inFile(tensor.name) else { throw LorikeetError.input("no line of the table names \(tensor.name)") }
            var values = tensor.values
            switch place.transform {
            case .none: break
            case .plus(let number): values = values.map { $0 + number }
            case .interleavedHeads(let key):
                let (rows, columns) = (tensor.shape[0], tensor.values.count / tensor.shape[0])
                let order = RowPermutation(heads: configuration.values[key]?.int ?? 0)
                values = (0..<rows).flatMap { row in
                    let first = order.row(ofSource: row, rows: rows) * columns
                    return tensor.values[first..<first + columns]
                }
            }
            if let known = result.firstIndex(where: { $0.name == place.name }) {
                result[known].shape[0] += tensor.shape[0]
                result[known].values += values
            } else {
                result.append((place.name, tensor.shape, values))
            }
        }
        return result
    }
}

/// The bytes of a GGUF of version 3 with float32 tensors.
enum GGUFBytes {
    static func file(metadata: [(key: String, value: GGUFValue)], tensors: [(name: String, shape: [Int], values: [Float])]) -> Data {
        var bytes = Data("GGUF".utf8)
        func number<N: FixedWidthInteger>(_ n: N) { withUnsafeBytes(of: n.littleEndian) { bytes.append(contentsOf: $0) } }
        func string(_ s: String) {
            number(UInt64(s.utf8.count))
            bytes.append(contentsOf: Array(s.utf8))
        }
        number(UInt32(3))
        number(UInt64(tensors.count))
        number(UInt64(metadata.count))
        for (key, value) in metadata {
            string(key)
            switch value {
            case .unsigned(let value): number(UInt32(4)); number(UInt32(value))
            case .float(let value): number(UInt32(6)); number(Float(value).bitPattern)
            case .bool(let value): number(UInt32(7)); number(UInt8(value ? 1 : 0))
            case .string(let value): number(UInt32(8)); string(value)
            case .boolArray(let values):
                number(UInt32(9))
                number(UInt32(7))
                number(UInt64(values.count))
                for value in values { number(UInt8(value ? 1 : 0)) }
            default: break
            }
        }
        var offset = 0
        for tensor in tensors {
            string(tensor.name)
            number(UInt32(tensor.shape.count))
            for size in tensor.shape.reversed() { number(UInt64(size)) }
            number(UInt32(0))
            number(UInt64(offset))
            offset += (tensor.values.count * 4 + 31) / 32 * 32
        }
        while bytes.count % 32 != 0 { bytes.append(0) }
        for tensor in tensors {
            tensor.values.withUnsafeBytes { bytes.append(contentsOf: $0) }
            while bytes.count % 32 != 0 { bytes.append(0) }
        }
        return bytes
    }
}
