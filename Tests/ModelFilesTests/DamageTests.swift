import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetModelFiles

/// Damaged files are errors with their name, never a crash or an allocation of the file's choosing.
struct DamageTests {
    static let llama = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Reference/llama").path

    private func file(_ bytes: Data, _ name: String = "x.safetensors") throws -> String {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appending(path: name).path
        try bytes.write(to: URL(fileURLWithPath: path))
        return path
    }

    private func safetensors(_ header: String, data: Int, length: UInt64? = nil) throws -> String {
        var bytes = Data()
        withUnsafeBytes(of: (length ?? UInt64(header.utf8.count)).littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: Array(header.utf8))
        bytes.append(Data(count: data))
        return try file(bytes)
    }

    @Test func `a header is not read beyond the format's own limit`() throws {
        // A sparse file, so that nothing but the refusal is tested.
        let file = try MappedFile(path: "x", count: 200 << 20, pieces: [(0, [0, 0, 0, 10, 0, 0, 0, 0])])
        let error = #expect(throws: LorikeetError.self) { try SafetensorsFile(file) }
        #expect(error?.description.contains("the header says it has 167772160 bytes, more than the format's 100000000") == true)
    }

    @Test(arguments: [
        (#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,17]}}"#, "ends at byte 17 of 16"),
        (#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#, "does not take the 16 bytes"),
        (#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#, "no usable shape or data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#, "no usable shape or data_offsets"),
        (#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#, "does not take"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, "overlap"),
        (#"{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,16]}}"#, "type F4, which is not supported"),
        (#"{"a":{"shape":[4],"data_offsets":[0,16]}}"#, "has no dtype"), ("[1]", "not a JSON object"), ("{\"a\":", "broken JSON"),
    ])
    func `a malformed header is refused with its fault`(header: String, words: String) throws {
        let path = try safetensors(header, data: 16)
        let error = #expect(throws: LorikeetError.self) { try SafetensorsFile(path: path) }
        #expect(error?.exit == .unusableInput && error?.description.contains(words) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("x.safetensors") == true)
    }

    @Test(arguments: [UInt64(1) << 40, UInt64.max, 17]) func `a header longer than the file is refused`(length: UInt64) throws {
        let path = try safetensors("{}", data: 4, length: length)
        #expect(throws: LorikeetError.self) { try SafetensorsFile(path: path) }
    }

    @Test func `a key that stands twice in a model's or an adapter's settings is refused`() throws {
        let text = try String(contentsOfFile: Self.llama + "/config.json", encoding: .utf8)
        let folder = URL(fileURLWithPath: try file(Data(("{\n\"hidden_size\": 32," + text.dropFirst()).utf8), "config.json")).deletingLastPathComponent().path
        try FileManager.default.copyItem(atPath: Self.llama + "/model.safetensors", toPath: folder + "/model.safetensors")
        let error = #expect(throws: LorikeetError.self) { try ModelFiles.open(folder) }
        #expect(error?.what == "the key 'hidden_size' stands twice in the same object" && error?.place?.contains("/config.json:") == true)
        let adapter = folder + "/adapter"
        try FileManager.default.copyItem(atPath: Self.llama + "/adapter_init", toPath: adapter)
        let settings = try String(contentsOfFile: adapter + "/adapter_config.json", encoding: .utf8)
        try ("{\"r\": 3," + settings.dropFirst()).write(toFile: adapter + "/adapter_config.json", atomically: true, encoding: .utf8)
        #expect(#expect(throws: LorikeetError.self) { try AdapterFile.read(directory: adapter) }?.what.contains("the key 'r' stands twice") == true)
    }

    @Test func `empty, missing and tiny files are errors`() throws {
        #expect(throws: LorikeetError.self) { try SafetensorsFile(path: file(Data())) }
        #expect(throws: LorikeetError.self) { try SafetensorsFile(path: "/no/such") }
        #expect(throws: LorikeetError.self) { try SafetensorsFile(path: file(Data([1, 2, 3]))) }
        #expect(throws: LorikeetError.self) { try ModelFiles.open(file(Data("GGUF".utf8), "x.gguf")) }
        #expect(throws: LorikeetError.self) { try ModelFiles.open(FileManager.default.temporaryDirectory.path) }
    }

    /// A small GGUF of every kind of metadata and two tensors.
    static func gguf() -> Data {
        var bytes = Data("GGUF".utf8)
        func number<N: FixedWidthInteger>(_ n: N) { withUnsafeBytes(of: n.littleEndian) { bytes.append(contentsOf: $0) } }
        func string(_ s: String) {
            number(UInt64(s.utf8.count))
            bytes.append(contentsOf: Array(s.utf8))
        }
        number(UInt32(3))
        number(UInt64(2))
        number(UInt64(5))
        string("general.architecture"); number(UInt32(8)); string("llama")
        string("llama.block_count"); number(UInt32(4)); number(UInt32(1))
        string("a.float"); number(UInt32(6)); number(Float(1.5).bitPattern)
        string("tokenizer.ggml.tokens"); number(UInt32(9)); number(UInt32(8)); number(UInt64(2)); string("a"); string("bc")
        string("tokenizer.ggml.token_type"); number(UInt32(9)); number(UInt32(5)); number(UInt64(2)); number(Int32(1)); number(Int32(3))
        string("token_embd.weight"); number(UInt32(2)); number(UInt64(32)); number(UInt64(2)); number(UInt32(2)); number(UInt64(0))
        string("output_norm.weight"); number(UInt32(1)); number(UInt64(4)); number(UInt32(0)); number(UInt64(64))
        while bytes.count % 32 != 0 { bytes.append(0) }
        bytes.append(Data((0..<80).map { UInt8($0) }))
        return bytes
    }

    @Test func `a whole GGUF is read`() throws {
        let gguf = try GGUFFile(path: file(Self.gguf(), "x.gguf"))
        #expect(gguf.metadata["tokenizer.ggml.tokens"]?.strings == ["a", "bc"] && gguf.metadata["tokenizer.ggml.token_type"]?.ints == [1, 3])
        #expect(gguf.metadata["a.float"]?.double == 1.5 && gguf.tensors["token_embd.weight"]?.shape == [2, 32])
        #expect(gguf.tensors["token_embd.weight"]?.type == .q4_0 && gguf.tensors["output_norm.weight"]?.bytes.first == 64)
    }

    @Test func `a GGUF cut anywhere is an error with its name`() throws {
        let whole = Self.gguf()
        for length in 1..<whole.count {
            let path = try file(whole.prefix(length), "cut.gguf")
            let error = #expect(throws: LorikeetError.self, "\(length)") { try GGUFFile(path: path) }
            #expect(error?.exit == .unusableInput && error?.description.contains("cut.gguf") == true)
            try FileManager.default.removeItem(atPath: path)
        }
    }

    @Test func `a GGUF with any byte changed is read or refused, never a crash`() throws {
        let whole = Self.gguf()
        for place in 0..<whole.count - 80 {
            for value in [UInt8(0), 0x7F, 0xFF] {
                var changed = whole
                changed[place] = value
                let path = try file(changed, "changed.gguf")
                _ = try? GGUFFile(path: path)
                _ = try? ModelFiles.open(path)
                try FileManager.default.removeItem(atPath: path)
            }
        }
    }

    @Test func `llama's rows of q and k stand where Hugging Face has them`() {
        let order = RowPermutation(heads: 2)
        // Two heads of six rows: the file interleaves the halves of a head.
        #expect((0..<12).map { order.sourceRow(of: $0, rows: 12) } == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11])
        #expect((0..<12).map { order.row(ofSource: order.sourceRow(of: $0, rows: 12), rows: 12) } == Array(0..<12))
    }

    @Test func `an adapter that is read and written keeps every byte`() throws {
        let adapter = try AdapterFile.read(directory: Self.llama + "/adapter_init")
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        let names = adapter.tensors.keys.sorted()
        let values = names.map { name in
            adapter.tensors[name].map { view in (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) } } ?? []
        }
        var list: [(name: String, shape: [Int], values: UnsafeBufferPointer<Float>)] = []
        let copies = values.map { UnsafeMutableBufferPointer<Float>.allocate(capacity: $0.count) }
        defer { copies.forEach { $0.deallocate() } }
        for (index, name) in names.enumerated() {
            _ = copies[index].initialize(from: values[index])
            list.append((name, adapter.tensors[name]?.shape ?? [], UnsafeBufferPointer(copies[index])))
        }
        try AdapterFile.write(directory: folder, configuration: adapter.configuration, tensors: list, files: RealFiles())
        let again = try AdapterFile.read(directory: folder)
        #expect(again.configuration == adapter.configuration && again.tensors.count == adapter.tensors.count)
        for name in names { #expect(again.tensors[name].map { Array($0.bytes) } == adapter.tensors[name].map { Array($0.bytes) }) }
    }
}
