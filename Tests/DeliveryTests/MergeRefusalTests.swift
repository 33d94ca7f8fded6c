import FailingFiles
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// What a merge does not write, and what it does not remove.
struct MergeRefusalTests {
    private let cpu = CPU(threads: 2)
    private let files = RealFiles()

    /// Copies of the reference's base and adapter that a test may change.
    private func copies() throws -> (base: String, adapter: String) {
        let (base, adapter) = (Temporary.folder(), Temporary.folder())
        try files.createDirectory(base)
        try files.createDirectory(adapter)
        for name in ["config.json", "generation_config.json", "model.safetensors"] { try copy(MergeTests.llama + "/" + name, base + "/" + name) }
        for name in ["adapter_config.json", "adapter_model.safetensors"] { try copy(MergeTests.llama + "/adapter_init/" + name, adapter + "/" + name) }
        return (base, adapter)
    }

    private func copy(_ from: String, _ to: String) throws { try files.writeDurably(files.read(from), to: to) }

    private func merge(_ base: String, _ adapter: String, _ type: ElementType, to directory: String) throws {
        try Merger(
            base: ModelSource.open(base), adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: type), files: files, cpu: cpu
        ).write(to: directory)
    }

    /// Writes a float32 into a tensor of a safetensors file.
    private func set(_ value: Float, _ name: String, in path: String) throws {
        let view = try #require(SafetensorsFile(path: path).tensors[name])
        var bytes = try files.read(path)
        withUnsafeBytes(of: value) { bytes.replaceSubrange(view.offset + 8..<view.offset + 12, with: $0) }
        try files.writeDurably(bytes, to: path)
    }

    private func setAlpha(_ alpha: JSON?, _ adapter: String) throws {
        var json = try #require(JSON.parse(files.read(adapter + "/adapter_config.json"), source: "c").object)
        json["lora_alpha"] = alpha
        try files.writeDurably(JSON.object(json).serialized(), to: adapter + "/adapter_config.json")
    }

    // MARK: values

    @Test(arguments: [Float.nan, .infinity, -.infinity], [ElementType.f32, .bf16, .f16])
    func `a base that is not finite is refused by the tensor's name`(value: Float, type: ElementType) throws {
        for name in ["model.layers.1.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight", "model.norm.weight", "model.embed_tokens.weight"] {
            let (base, adapter) = try copies()
            try set(value, name, in: base + "/model.safetensors")
            let directory = Temporary.folder()
            let error = #expect(throws: LorikeetError.self) { try merge(base, adapter, type, to: directory) }
            #expect(error?.exit == .unusableInput && error?.description.contains("'\(name)'") == true, "\(error?.description ?? "")")
            #expect(!files.exists(directory) && !files.exists(directory + ".partial"))
        }
    }

    @Test(arguments: [Float.nan, .infinity]) func `an adapter that is not finite is refused by the tensor's name`(value: Float) throws {
        let (_, adapter) = try copies()
        let name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
        try set(value, name, in: adapter + "/adapter_model.safetensors")
        let error = #expect(throws: LorikeetError.self) { try AdapterFile.read(directory: adapter) }
        #expect(error?.exit == .unusableInput && error?.description.contains("'\(name)'") == true, "\(error?.description ?? "")")
    }

    @Test func `a sum that leaves float32 or bfloat16 is refused by the tensor's name`() throws {
        for (value, type, word) in [(Float(3e38), ElementType.f32, "not finite"), (3.398e38, .bf16, "bfloat16")] {
            let (base, adapter) = try copies()
            let name = "model.layers.0.self_attn.q_proj.weight"
            try set(value, name, in: base + "/model.safetensors")
            if type == .f32 {
                // B A of 1e31, times a scale of 2.5e8.
                try set(1e33, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", in: adapter + "/adapter_model.safetensors")
                try setAlpha(1e9, adapter)
            }
            let error = #expect(throws: LorikeetError.self) { try merge(base, adapter, type, to: Temporary.folder()) }
            #expect(error?.description.contains("'\(name)'") == true && error?.description.contains(word) == true, "\(error?.description ?? "")")
        }
    }

    @Test(arguments: [.number(1e39), .number(-1e39), "16", .number(1e300)] as [JSON])
    func `a lora_alpha that is out of range or no number is refused by its key`(alpha: JSON) throws {
        let (_, adapter) = try copies()
        try setAlpha(alpha, adapter)
        let error = #expect(throws: LorikeetError.self) { try AdapterFile.read(directory: adapter) }
        #expect(error?.exit == .unusableInput && error?.description.contains("'lora_alpha'") == true, "\(error?.description ?? "")")
    }

    @Test func `an adapter of more modules than a model carries is refused by name, not loaded in part`() throws {
        let lora = LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj"])
        let model = try Compute(cpu: cpu).model(ModelSource.open(MergeTests.llama), storage: .stored, lora: lora)
        let error = #expect(throws: LorikeetError.self) { try model.loadAdapter(AdapterFile.read(directory: MergeTests.llama + "/adapter_init")) }
        #expect(error?.exit == .unusableInput && error?.description.contains("lora_A.weight'") == true, "\(error?.description ?? "")")
    }

    /// A folder of the reference's adapter, all zeros, with one tensor more or less.
    private func adapter(with more: String? = nil, without less: String? = nil) throws -> String {
        let file = try AdapterFile.read(directory: MergeTests.llama + "/adapter_init")
        let directory = Temporary.folder()
        let zeros = [Float](repeating: 0, count: file.tensors.values.map(\.elementCount).max() ?? 0)
        try zeros.withUnsafeBufferPointer { zeros in
            let added = more.map { (name: $0, shape: [2, 2], values: UnsafeBufferPointer(rebasing: zeros[..<4])) }
            let kept = file.tensors.values.filter { $0.name != less }.sorted { $0.name < $1.name }.map {
                (name: $0.name, shape: $0.shape, values: UnsafeBufferPointer(rebasing: zeros[..<$0.elementCount]))
            }
            try AdapterFile.write(
                directory: directory, configuration: file.configuration, tensors: kept + (added.map { [$0] } ?? []), files: files)
        }
        return directory
    }

    @Test(arguments: ["lora_B.bias", "lora_magnitude_vector", "modules_to_save.weight", "lora_embedding_A", "lora_A.a.b.weight"])
    func `an adapter's tensor that nothing here trains is refused by its name`(ending: String) throws {
        let name = "base_model.model.model.layers.0.self_attn.q_proj." + ending
        let adapter = try adapter(with: name)
        let file = try AdapterFile.read(directory: adapter)
        let merging = #expect(throws: LorikeetError.self) { try merge(MergeTests.llama, adapter, .f32, to: Temporary.folder()) }
        let source = try ModelSource.open(MergeTests.llama)
        let lora = try LoRASettings(file, weights: source.configuration.family.weights())
        let model = try Compute(cpu: cpu).model(source, storage: .stored, lora: lora)
        let loading = #expect(throws: LorikeetError.self) { try model.loadAdapter(file) }
        for error in [merging, loading] {
            #expect(error?.exit == .unusableInput && error?.description.contains("'\(name)'") == true, "\(error?.description ?? "")")
        }
    }

    // MARK: what stands in the way

    @Test func `a folder of the user's beside the output is not removed`() throws {
        let (base, adapter) = try copies()
        let directory = Temporary.folder()
        let theirs = directory + ".partial"
        try files.createDirectory(theirs)
        try files.writeDurably("mine", to: theirs + "/model.safetensors")
        try merge(base, adapter, .f16, to: directory)
        #expect(try files.readText(theirs + "/model.safetensors") == "mine" && files.exists(directory + "/config.json"))
        #expect(!files.exists(theirs + "-2"))
        // The same for a file of that name.
        let file = Temporary.folder()
        try files.writeDurably("mine", to: file + ".partial")
        try merge(base, adapter, .f16, to: file)
        #expect(try files.readText(file + ".partial") == "mine" && files.exists(file + "/config.json"))
    }

    @Test func `an output that is there is not removed`() throws {
        let (base, adapter) = try copies()
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        try files.writeDurably("mine", to: directory + "/notes.txt")
        let error = #expect(throws: LorikeetError.self) { try merge(base, adapter, .f16, to: directory) }
        #expect(error?.exit == .unusableInput)
        #expect(try files.readText(directory + "/notes.txt") == "mine" && !files.exists(directory + ".partial"))
    }

    @Test func `what a merge left that was killed is recognised and replaced`() throws {
        let (base, adapter) = try copies()
        let (directory, other) = (Temporary.folder(), Temporary.folder())
        // A disk that fails and a process that dies: nothing is tidied up.
        let killed = DyingFiles(last: 14, end: .kill)
        #expect(throws: LorikeetError.self) {
            try Merger(
                base: ModelSource.open(base), adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: .f16), files: killed, cpu: cpu
            ).write(to: directory)
        }
        #expect(files.exists(directory + ".partial") && !files.exists(directory))
        try merge(base, adapter, .f16, to: directory)
        try merge(base, adapter, .f16, to: other)
        #expect(!files.exists(directory + ".partial"))
        #expect(try files.list(directory) == files.list(other))
        for name in try files.list(other) { #expect(try files.read(directory + "/" + name) == files.read(other + "/" + name), "\(name)") }
    }

    // MARK: what stands beside the weights

    @Test func `the base's generation_config is kept`() throws {
        let (base, adapter) = try copies()
        let text = #"{"eos_token_id": [2, 3, 4], "temperature": 0.6, "top_p": 0.9}"#
        try files.writeDurably(text, to: base + "/generation_config.json")
        let (kept, made) = (Temporary.folder(), Temporary.folder())
        try merge(base, adapter, .f16, to: kept)
        #expect(try files.readText(kept + "/generation_config.json") == text)
        // Without one, the configuration's ids.
        try files.remove(base + "/generation_config.json")
        try merge(base, adapter, .f16, to: made)
        let ids = try JSON.parse(files.read(made + "/generation_config.json"), source: "g")
        #expect(ids["eos_token_id"] == 2 && ids["bos_token_id"] == 1 && ids["pad_token_id"] == 0)
    }

    @Test func `an adapter of other modules or of one half is refused by name`() throws {
        let (base, adapter) = try copies()
        let path = adapter + "/adapter_model.safetensors"
        let from = "layers.0.self_attn.q_proj.lora_A"
        for to in ["layers.9.self_attn.q_proj.lora_A", "layers.0.self_attn.x_proj.lora_A"] {
            var bytes = Data(try files.read(path))
            let range = try #require(bytes.firstRange(of: Data(from.utf8)))
            bytes.replaceSubrange(range, with: Data(to.utf8))
            let changed = Temporary.folder()
            try files.createDirectory(changed)
            try copy(adapter + "/adapter_config.json", changed + "/adapter_config.json")
            try files.writeDurably(Array(bytes), to: changed + "/adapter_model.safetensors")
            let error = #expect(throws: LorikeetError.self) { try merge(base, changed, .f16, to: Temporary.folder()) }
            #expect(error?.exit == .unusableInput && error?.description.contains(to) == true, "\(error?.description ?? "")")
        }
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        for half in ["A.weight", "B.weight"] {
            let error = #expect(throws: LorikeetError.self) { try merge(base, self.adapter(without: name + half), .f32, to: Temporary.folder()) }
            #expect(error?.exit == .unusableInput && error?.description.contains("lacks '\(name)\(half)'") == true, "\(error?.description ?? "")")
        }
    }

    @Test func `an output may end in a slash; one without a name, or a link that leads nowhere, is refused`() throws {
        let (base, adapter) = try copies()
        let directory = Temporary.folder()
        try merge(base, adapter, .f16, to: directory + "/")
        #expect(files.exists(directory + "/config.json") && !files.exists(directory + "/.partial") && !files.exists(directory + ".partial"))
        let link = Temporary.folder()
        #expect(symlink("/no/such/folder", link) == 0)
        for output in ["", link, link + "/"] {
            let error = #expect(throws: LorikeetError.self) { try merge(base, adapter, .f16, to: output) }
            #expect(error?.exit == .unusableInput, "'\(output)': \(String(describing: error))")
        }
        #expect(!files.exists(link + ".partial"))
    }

    // MARK: the disk

    @Test(arguments: [false, true]) func `a disk that is too small is told before anything is written`(isNF4: Bool) throws {
        let (base, adapter) = try copies()
        let directory = Temporary.folder()
        var settings = MergeSettings(type: .f16)
        settings.isNF4 = isNF4
        func merger(_ disk: any Files) throws -> Merger {
            try Merger(base: ModelSource.open(base), adapter: AdapterFile.read(directory: adapter), settings: settings, files: disk, cpu: cpu)
        }
        let needed = try merger(files).byteCount()
        for (exit, failure) in [(LorikeetError.ExitClass.doesNotFit, "3"), (.machineFailed, "4")] {
            let small = try merger(FullDisk(bytes: 1 << 30, said: needed - 1))
            let error = #expect(throws: LorikeetError.self) { try small.write(to: directory, whenFull: exit) }
            let words = "takes \(Units.formatBytes(needed)) on the disk, which has \(Units.formatBytes(needed - 1))"
            #expect(error?.exit == exit && error?.place == directory && error?.what.contains(words) == true, "\(failure): \(String(describing: error))")
            #expect(
                try files.list(RealFiles.parent(of: directory)).allSatisfy {
                    !$0.hasPrefix(RealFiles.trimmed(directory).split(separator: "/").last.map(String.init) ?? "?")
                })
        }
        try merger(FullDisk(bytes: 1 << 30, said: needed)).write(to: directory)
        let written = try files.list(directory).reduce(Int64(0)) { try $0 + Int64(files.byteCount(of: directory + "/" + $1)) }
        #expect(written <= needed && needed - written < 100_000, "\(written) of \(needed)")
    }
}
