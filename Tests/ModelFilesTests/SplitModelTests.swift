import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetModelFiles

/// Models of several files, and files that are no models.
struct SplitModelTests {
    private let files = RealFiles()

    private func folder() throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-split-" + UUID().uuidString).path
        try files.createDirectory(path)
        return path
    }

    /// A part of a GGUF with one float32 tensor of 8 elements, all `value`.
    private func part(_ place: Int, of count: Int, tensor: String, value: Float, tensors: Int? = nil) -> [UInt8] {
        var bytes: [UInt8] = Array("GGUF".utf8)
        func number<N: FixedWidthInteger>(_ n: N) { withUnsafeBytes(of: n.littleEndian) { bytes.append(contentsOf: $0) } }
        func string(_ s: String) {
            number(UInt64(s.utf8.count))
            bytes += Array(s.utf8)
        }
        number(UInt32(3))
        number(UInt64(1))
        number(UInt64(place == 1 ? 4 : 3))
        if place == 1 {
            string("general.architecture")
            number(UInt32(8))
            string("llama")
        }
        string("split.no"); number(UInt32(2)); number(UInt16(place - 1))
        string("split.count"); number(UInt32(2)); number(UInt16(count))
        string("split.tensors.count"); number(UInt32(5)); number(Int32(tensors ?? count))
        string(tensor); number(UInt32(1)); number(UInt64(8)); number(UInt32(0)); number(UInt64(0))
        while bytes.count % 32 != 0 { bytes.append(0) }
        for _ in 0..<8 { number(value.bitPattern) }
        return bytes
    }

    private func write(_ folder: String, _ parts: Int, skip: Int? = nil, tensors: Int? = nil, same: Bool = false) throws {
        for i in 1...parts where i != skip {
            try files.writeDurably(
                part(i, of: parts, tensor: same ? "w" : "w\(i)", value: Float(i), tensors: tensors), to: folder + "/m-0000\(i)-of-0000\(parts).gguf")
        }
    }

    private func refusal(_ path: String) -> String {
        let error = #expect(throws: LorikeetError.self) { try ModelFiles.open(path) }
        #expect(error?.exit == .unusableInput)
        return error?.description ?? ""
    }

    @Test(arguments: 1...3) func `any part of a split GGUF finds the others`(named: Int) throws {
        let folder = try folder()
        try write(folder, 3)
        let model = try ModelFiles.open(folder + "/m-0000\(named)-of-00003.gguf")
        #expect(model.names == ["w1", "w2", "w3"] && model.gguf?.metadata["general.architecture"]?.string == "llama")
        #expect(model.tensors["w3"]?.floatValues() == [Float](repeating: 3, count: 8))
        #expect(model.weightPaths.count == 3 && model.gguf?.path.hasSuffix("m-00001-of-00003.gguf") == true)
    }

    @Test func `parts that are missing, of another model, or misnamed are named`() throws {
        let folder = try folder()
        try write(folder, 3, skip: 2)
        #expect(refusal(folder + "/m-00003-of-00003.gguf").contains("m-00002-of-00003.gguf: a part of the model is missing"))
        try files.writeDurably(part(1, of: 3, tensor: "w2", value: 0), to: folder + "/m-00002-of-00003.gguf")
        #expect(refusal(folder + "/m-00001-of-00003.gguf").contains("m-00002-of-00003.gguf: the file is not part 2 of 3"))
        #expect(refusal(folder + "/m-00002-of-00003.gguf").contains("does not say the same"))
        try files.writeDurably(part(1, of: 2, tensor: "w", value: 0), to: folder + "/model.gguf")
        #expect(refusal(folder + "/model.gguf").contains("one of 2 parts of a model (number 1)"))
    }

    @Test func `doubled tensors and a wrong number of tensors are refused`() throws {
        let (doubled, few) = (try folder(), try folder())
        try write(doubled, 2, same: true)
        #expect(refusal(doubled + "/m-00001-of-00002.gguf").contains("'w' stands in two parts"))
        try write(few, 2, tensors: 3)
        #expect(refusal(few + "/m-00001-of-00002.gguf").contains("2 tensors and not 3"))
    }

    @Test(
        arguments: [
            ("model.safetensors", "{}      {}", "safetensors file alone"), ("pytorch_model.bin", "PK\u{3}\u{4}", "pickle"), ("x.pth", "abcd", "pickle"),
            ("consolidated.pt", "PK", "pickle"), ("ggml-model.bin", "tjgg1234", "before GGUF"), ("m.ggml", "fmgg", "before GGUF"), ("m.onnx", "abcd", "ONNX"),
            ("flax_model.msgpack", "abcd", "Flax"), ("weights.npz", "PK", "MLX"), ("m.gguf", "version https://git-lfs.github.com/spec/v1", "Git LFS"),
            ("m.gguf", "<!DOCTYPE html>", "web page"), ("m.gguf", "abcdefgh", "does not begin with 'GGUF'"), ("tf_model.h5", "?HDF", "TensorFlow"),
        ])
    func `a file that is no GGUF is called what it is`(name: String, text: String, words: String) throws {
        let folder = try folder()
        var bytes = Array(text.utf8)
        if bytes[0] == UInt8(ascii: "?") { bytes[0] = 0x89 }
        try files.writeDurably(bytes, to: folder + "/" + name)
        let error = refusal(folder + "/" + name)
        #expect(error.contains(words), "\(error)")
    }

    @Test(
        arguments: [
            ("pytorch_model.bin", "pickle"), ("pytorch_model-00001-of-00002.bin", "pickle"), ("consolidated.00.pth", "pickle"), ("tf_model.h5", "TensorFlow"),
            ("flax_model.msgpack", "Flax"), ("model.onnx", "ONNX"), ("weights.npz", "MLX"), ("model.q4_0.gguf", "name the file"),
            ("adapter_config.json", "--adapter"), ("model-00001-of-00002.safetensors", "index.json"), ("consolidated.safetensors", "Mistral"),
            ("readme.md", "no model.safetensors"),
        ])
    func `a directory without safetensors is called what it is`(name: String, words: String) throws {
        let folder = try folder()
        try files.writeDurably("{}", to: folder + "/config.json")
        try files.writeDurably("x", to: folder + "/" + name)
        let error = refusal(folder)
        #expect(error.contains(words), "\(error)")
    }

    // MARK: safetensors

    private func safetensors(_ header: String, data: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
        return bytes + Array(header.utf8) + [UInt8](repeating: 0, count: data)
    }

    @Test(
        arguments: [
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8, "'a' stands twice"),
            (#"{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}"#, 8, "'shape' stands twice"),
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 12, "the tensors take 8 bytes, and the file has 12"),
            (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, "the tensors take 8 bytes"),
        ])
    func `a header that hides or doubles bytes is refused`(header: String, data: Int, words: String) throws {
        let path = try folder() + "/x.safetensors"
        try files.writeDurably(safetensors(header, data: data), to: path)
        let error = #expect(throws: LorikeetError.self) { try SafetensorsFile(path: path) }
        #expect(error?.exit == .unusableInput && error?.description.contains(words) == true, "\(error?.description ?? "")")
    }

    @Test func `a missing shard is named`() throws {
        let folder = try folder()
        try files.writeDurably("{}", to: folder + "/config.json")
        try files.writeDurably(#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#, to: folder + "/model.safetensors.index.json")
        try files.writeDurably(
            safetensors(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, data: 8), to: folder + "/model-1.safetensors")
        #expect(refusal(folder).contains("model-2.safetensors: a shard that the index names is missing (2 shards in all)"))
    }

    @Test(arguments: ["../x.safetensors", "../\u{338}x.safetensors", "sub/\u{338}x.safetensors", "/\u{338}x", "..", "."])
    func `a shard outside of the folder is refused`(shard: String) throws {
        let folder = try folder() + "/model"
        try files.createDirectory(folder + "/sub")
        try files.writeDurably("{}", to: folder + "/config.json")
        let bytes = safetensors(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, data: 8)
        for place in ["/../x.safetensors", "/../\u{338}x.safetensors", "/sub/\u{338}x.safetensors"] { try files.writeDurably(bytes, to: folder + place) }
        try files.writeDurably(#"{"weight_map":{"a":"\#(shard)"}}"#, to: folder + "/model.safetensors.index.json")
        #expect(refusal(folder).contains("the shard of 'a' is not a file name"))
    }

    @Test func `arrays of a GGUF that would fill the memory are refused`() throws {
        // A number of one byte takes eight in memory: 40 million of them are refused before they are read.
        var bytes: [UInt8] = Array("GGUF".utf8)
        func number<N: FixedWidthInteger>(_ n: N) { withUnsafeBytes(of: n.littleEndian) { bytes.append(contentsOf: $0) } }
        number(UInt32(3)); number(UInt64(0)); number(UInt64(1))
        number(UInt64(1)); bytes.append(UInt8(ascii: "a")); number(UInt32(9)); number(UInt32(0)); number(UInt64(40_000_000))
        let path = try folder() + "/m.gguf"
        try files.writeDurably(bytes + [UInt8](repeating: 1, count: 40_000_000), to: path)
        #expect(refusal(path).contains("elements"))
        try files.remove(path)
    }

    @Test func `a pipe or a device is refused, not waited for`() throws {
        let path = try folder() + "/m.gguf"
        #expect(mkfifo(path, 0o600) == 0)
        #expect(refusal(path).contains("not a regular file"))
        #expect(refusal("/dev/zero").contains("not a regular file"))
    }
}
