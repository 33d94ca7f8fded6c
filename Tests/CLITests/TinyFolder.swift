import Foundation
import LorikeetJSON

/// The tiny reference model (a Llama of 160 rows) with a tokenizer of single characters, as folders that tests may damage.
struct TinyFolder {
    static let reference = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path + "/Reference/llama"

    /// A new folder: `model/` and `adapter/`.
    let path: String
    var model: String { path + "/model" }
    var adapter: String { path + "/adapter" }

    /// The tokenizer knows one token more than the model has rows: `<|extra|>`, id 160.
    init() throws {
        path = try Binary.scratch()
        try FileManager.default.createDirectory(atPath: model, withIntermediateDirectories: true)
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            try FileManager.default.copyItem(atPath: Self.reference + "/" + name, toPath: model + "/" + name)
        }
        try FileManager.default.copyItem(atPath: Self.reference + "/adapter_init", toPath: adapter)
        let specials = ["<pad>", "<s>", "</s>"]
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        // The model has 160 rows: the library numbers added tokens on from the vocabulary, whatever the file says.
        let unused = (specials.count + characters.count..<160).map { "<unused\($0)>" }
        let added = specials.enumerated().map { ($0, $1) } + [(160, "<|extra|>")]
        let tokenizer: JSON = [
            "model": ["type": "BPE", "vocab": .object(JSONObject((specials + characters + unused).enumerated().map { ($1, JSON($0)) })), "merges": []],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true], "decoder": ["type": "ByteLevel"],
            "added_tokens": .array(added.map { ["id": JSON($0), "content": .string($1), "special": true] }),
        ]
        let template =
            "{%- for message in messages -%}{{ message['content'] }}{%- if message['role'] == 'assistant' -%}</s>{%- endif -%}{%- endfor -%}"
        try tokenizer.serialized().write(toFile: model + "/tokenizer.json", atomically: true, encoding: .utf8)
        try (["bos_token": "<s>", "eos_token": "</s>", "chat_template": .string(template)] as JSON).serialized()
            .write(toFile: model + "/tokenizer_config.json", atomically: true, encoding: .utf8)
    }

    /// Overwrites the first number of a float32 or int64 tensor.
    static func overwrite(_ name: String, in file: String, with bytes: [UInt8]) throws {
        var data = try Data(contentsOf: URL(fileURLWithPath: file))
        let length = Int(data.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) })
        let header = try JSON.parse(Array(data[8..<8 + length]), source: file)
        guard let start = header[name]?["data_offsets"]?.array?.first?.int else { throw CocoaError(.fileReadCorruptFile) }
        data.replaceSubrange(8 + length + start..<8 + length + start + bytes.count, with: bytes)
        try data.write(to: URL(fileURLWithPath: file))
    }

    static func bytes<Value>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
}
