import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers
import Testing

@testable import LorikeetDelivery

/// Our GGUFs of the small models beside those of llama.cpp's converter (Tests/Reference/make_gguf.py).
struct GGUFExportTests {
    static let small = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../Reference/small").standardized.path
    static let names = ((try? FileManager.default.contentsOfDirectory(atPath: small)) ?? []).sorted().filter {
        FileManager.default.fileExists(atPath: "\(small)/\($0)/model.gguf")
    }

    /// The model's directory with the byte-level tokenizer that make_gguf.py gives it: a letter for each row of the embedding, and four special tokens.
    static func directory(_ name: String) throws -> String {
        let path = Temporary.folder()
        let files = RealFiles()
        try files.createDirectory(path)
        for file in ["config.json", "model.safetensors"] { try FileManager.default.copyItem(atPath: "\(small)/\(name)/\(file)", toPath: "\(path)/\(file)") }
        let json = try JSON.parse(files.read(path + "/config.json"), source: name)
        let rows = try #require((json["text_config"] ?? json)["vocab_size"]?.int)
        let specials = ["<|endoftext|>", "<|user|>", "<s>", "</s>"]
        let letters = (33..<33 + rows - specials.count).map { String(UnicodeScalar(UInt8($0))) }
        let added = specials.enumerated().map { place, text -> JSON in
            ["id": JSON(letters.count + place), "content": .string(text), "special": true, "normalized": false]
        }
        let tokenizer: JSON = [
            "model": ["type": "BPE", "vocab": .object(JSONObject((letters + specials).enumerated().map { ($1, JSON($0)) })), "merges": []],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true], "decoder": ["type": "ByteLevel"],
            "added_tokens": .array(added),
        ]
        try files.writeDurably(tokenizer.serialized(), to: path + "/tokenizer.json")
        try files.writeDurably((["bos_token": "<s>", "eos_token": "</s>"] as JSON).serialized(), to: path + "/tokenizer_config.json")
        return path
    }

    /// Our file of a directory.
    static func export(_ directory: String, _ form: GGUFForm, adapter: AdapterFile? = nil) throws -> GGUFFile {
        let files = RealFiles()
        let base = try ModelSource.open(directory)
        let export = try GGUFExport(base: base, adapter: adapter, settings: .init(name: "small"), files: files, cpu: CPU(threads: 1))
        let path = Temporary.folder() + ".gguf"
        try export.write(form, to: path, files: files)
        #expect(try export.bytes(form) == files.byteCount(of: path))
        return try GGUFFile(path: path)
    }

    /// Keys that the converter writes for some architectures or configurations alone and that say what is the default there: read by llama.cpp in every
    /// architecture. Of YaRN's rotations, which it writes where the configuration has them, the defaults.
    private static let alwaysWritten: Set<String> = [
        "vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base", "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    ]

    @Test(arguments: names) func `metadata are those of llama cpp's converter`(name: String) throws {
        let theirs = try GGUFFile(path: "\(Self.small)/\(name)/model.gguf")
        let ours = try Self.export(Self.directory(name), .f32)
        let architecture = try #require(theirs.metadata["general.architecture"]?.string)
        func isCompared(_ key: String) -> Bool { !key.hasPrefix("tokenizer.") }
        for (key, value) in theirs.metadata where isCompared(key) { #expect(ours.metadata[key].map { "\($0)" } == "\(value)", "\(key)") }
        for key in ours.metadata.keys where isCompared(key) && theirs.metadata[key] == nil {
            #expect(key.hasPrefix(architecture + ".") && Self.alwaysWritten.contains(String(key.dropFirst(architecture.count + 1))), "\(key)")
        }
    }

    @Test(arguments: names) func `tensors are those of llama cpp's converter, byte by byte`(name: String) throws {
        let theirs = try GGUFFile(path: "\(Self.small)/\(name)/model.gguf")
        let ours = try Self.export(Self.directory(name), .f32)
        #expect(Set(ours.names) == Set(theirs.names))
        for (tensor, view) in theirs.tensors {
            let own = try #require(ours.tensors[tensor], "\(tensor)")
            #expect(own.shape == view.shape && own.type == view.type && own.bytes.elementsEqual(view.bytes), "\(tensor)")
        }
    }

    /// The converter rounds matrices to float16 and leaves vectors and norms as they are.
    @Test(arguments: names) func `float16 rounds the converter's matrices to nearest even`(name: String) throws {
        let theirs = try GGUFFile(path: "\(Self.small)/\(name)/model.gguf")
        let ours = try Self.export(Self.directory(name), .f16)
        #expect(ours.metadata["general.file_type"]?.int == 1)
        for (tensor, view) in theirs.tensors {
            let own = try #require(ours.tensors[tensor], "\(tensor)")
            #expect(own.type == (view.shape.count > 1 ? .f16 : .f32), "\(tensor)")
            guard own.type == .f16 else { continue }
            let isRounded = (0..<view.elementCount).allSatisfy { i in
                let value = view.bytes.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
                return own.bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self) == Float16(value).bitPattern
            }
            #expect(isRounded, "\(tensor)")
        }
    }

    /// What `GGUFFile` reads of the file is the model again.
    @Test(arguments: names) func `the model read from our file has the values of the directory`(name: String) throws {
        let directory = try Self.directory(name)
        let file = try Self.export(directory, .f32)
        let (base, read) = (try Self.values(ModelSource.open(directory)), try Self.values(ModelSource.open(file.path)))
        #expect(base.map(\.name) == read.map(\.name))
        for (x, y) in zip(base, read) {
            // A norm that is stored as 1 + w loses the last bits of a small w.
            #expect(x.values.count == y.values.count && zip(x.values, y.values).allSatisfy { abs($0 - $1) <= 1.2e-7 }, "\(x.name)")
        }
    }

    /// Every tensor of a model, as float32.
    private static func values(_ source: ModelSource) throws -> [(name: String, values: [Float])] {
        try TensorStream(source, linearsThrough: .stored, cpu: CPU(threads: 1)).tensors().map { tensor in
            let form = tensor.description
            let read = try tensor.open()
            var values = [Float](repeating: 0, count: form.rows * form.columns)
            for first in stride(from: 0, to: form.rows, by: form.blockRows) {
                let rows = first..<min(first + form.blockRows, form.rows)
                try values.withUnsafeMutableBufferPointer { buffer in
                    try read(rows, UnsafeMutableRawPointer(try #require(buffer.baseAddress) + first * form.columns))
                }
            }
            return (form.name, values)
        }
    }

    @Test func `the rounded count of parameters is the converter's`() {
        let labels = [
            134_515_008: "135M", 1_235_814_400: "1.2B", 22_016: "22K", 999_885_952: "1000M", 7_241_732_096: "7.2B", 2_500: "2.5K",
        ]
        for (count, label) in labels { #expect(GGUFExport.sizeLabel(count) == label) }
    }

    // MARK: adapters

    @Test(arguments: ["llama_llama3", "phi3"]) func `an adapter's GGUF is that of llama cpp's script`(name: String) throws {
        let theirs = try GGUFFile(path: "\(Self.small)/\(name)/adapter.gguf")
        let base = try ModelSource.open("\(Self.small)/\(name)")
        let adapter = try AdapterFile.read(directory: "\(Self.small)/\(name)/adapter_init")
        let path = Temporary.folder() + ".gguf"
        try GGUFAdapterExport(base: base, adapter: adapter, name: "Adapter_Init", cpu: CPU(threads: 1)).write(to: path, files: RealFiles())
        let ours = try GGUFFile(path: path)
        #expect(ours.metadata.mapValues { "\($0)" } == theirs.metadata.mapValues { "\($0)" })
        #expect(Set(ours.names) == Set(theirs.names))
        for (tensor, view) in theirs.tensors {
            let own = try #require(ours.tensors[tensor], "\(tensor)")
            #expect(own.shape == view.shape && own.type == view.type && own.bytes.elementsEqual(view.bytes), "\(tensor)")
        }
    }

    @Test func `an adapter whose scale is 0, or that has a NaN, is refused and nothing is written as a number`() throws {
        let base = try ModelSource.open("\(Self.small)/llama_llama3")
        let (files, folder) = (RealFiles(), Temporary.folder())
        try files.createDirectory(folder)
        for name in try files.list("\(Self.small)/llama_llama3/adapter_init") {
            try files.writeDurably(files.read("\(Self.small)/llama_llama3/adapter_init/" + name), to: folder + "/" + name)
        }
        let settings = folder + "/adapter_config.json"
        let kept = try files.readText(settings)
        try files.writeDurably(kept.replacing(/"lora_alpha": *[0-9.]+/, with: "\"lora_alpha\": 0"), to: settings)
        #expect(try files.readText(settings) != kept)
        func export() throws {
            let adapter = try AdapterFile.read(directory: folder)
            try GGUFAdapterExport(base: base, adapter: adapter, name: "a", cpu: CPU(threads: 1)).write(to: folder + "/a.gguf", files: files)
        }
        let zero = try #require(throws: LorikeetError.self) { try export() }
        #expect(zero.exit == .unusableInput && zero.description.contains("lora_alpha"), "\(zero)")
        try files.writeDurably(kept, to: settings)
        // The last float32 of the file's tensors.
        let weights = folder + "/adapter_model.safetensors"
        try files.writeDurably(files.read(weights).dropLast(4) + [0, 0, 0xC0, 0x7F], to: weights)
        let broken = try #require(throws: LorikeetError.self) { try export() }
        #expect(broken.exit == .unusableInput && broken.description.contains("not finite"), "\(broken)")
    }

    @Test func `base and adapter in one stream are the merged folder's export`() throws {
        let directory = try Self.directory("llama_llama3")
        let (base, files) = (try ModelSource.open(directory), RealFiles())
        let adapter = try AdapterFile.read(directory: "\(Self.small)/llama_llama3/adapter_init")
        let merged = Temporary.folder()
        try Merger(base: base, adapter: adapter, settings: MergeSettings(type: .f32), files: files, cpu: CPU(threads: 1)).write(to: merged)
        let (one, other) = (try Self.export(directory, .f16, adapter: adapter), try Self.export(merged, .f16))
        #expect(try files.read(one.path) == files.read(other.path))
        #expect(try files.read(one.path) != files.read(Self.export(directory, .f16).path))
    }
}
