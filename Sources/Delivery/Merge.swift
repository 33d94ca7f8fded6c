import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// How a merged model is written.
package struct MergeSettings: Sendable {
    /// `.f16`, `.bf16` or `.f32`.
    package var type: ElementType
    /// What the adapter is added to: `.stored` is the base as its file has it, `.nf4` and the others the weights it was trained on.
    package var into: BaseStorage
    /// A shard grows no larger than this.
    package var shardBytes = 5_000_000_000

    package init(type: ElementType, into: BaseStorage = .stored) {
        self.type = type
        self.into = into
    }
}

/// Merges an adapter into its base: W + scale * B A for every adapted matrix, as a Hugging Face directory.
///
/// Streamed matrix by matrix: RAM holds one matrix at a time. Built beside `directory` and renamed when whole.
package struct Merger {
    private let base: ModelSource
    private let adapter: AdapterFile
    private let settings: MergeSettings
    private let files: any Files
    private let cpu: CPU

    package init(base: ModelSource, adapter: AdapterFile, settings: MergeSettings, files: any Files, cpu: CPU) {
        self.base = base
        self.adapter = adapter
        self.settings = settings
        self.files = files
        self.cpu = cpu
    }

    /// - Parameter progress: told the share done after each tensor.
    /// - Throws: exit 2 when adapter and base do not fit or a merged weight does not fit float16; exit 4 when the disk fails.
    package func write(to directory: String, progress: (Double) -> Void = { _ in }) throws {
        let beside = directory + ".partial"
        do {
            try files.remove(beside)
            try files.createDirectory(beside)
            try writeTensors(to: beside, progress)
            try writeConfiguration(to: beside)
            try MergedTokenizer(source: base, files: files).write(to: beside)
            try files.remove(directory)
            try files.rename(beside, to: directory)
        } catch {
            try? files.remove(beside)
            throw error
        }
    }

    private func writeTensors(to directory: String, _ progress: (Double) -> Void) throws {
        let declarations = try Families.family(for: base.configuration).weights()
        let linears = declarations.compactMap { if case .linear(let linear) = $0.role { linear.name } else { nil } }
        let prefix = "base_model.model."
        for name in adapter.tensors.keys where !linears.contains(where: { name.hasPrefix(prefix + $0 + ".lora_") }) {
            throw LorikeetError.input("the adapter's '\(name)' has no place in the model", at: base.path, mend: "merge into the model it was trained on")
        }
        let shards = split(declarations)
        var map: [(key: String, value: JSON)] = []
        var done = 0
        for (number, shard) in shards.enumerated() {
            let name = shards.count == 1 ? "model.safetensors" : "model-\(five(number + 1))-of-\(five(shards.count)).safetensors"
            let writer = try SafetensorsWriter(
                path: directory + "/" + name, files: files, tensors: shard.map { ($0.tensor, settings.type, $0.shape) }, metadata: ["format": "pt"])
            for declaration in shard {
                try append(declaration, to: writer)
                map.append((declaration.tensor, .string(name)))
                done += 1
                progress(Double(done) / Double(declarations.count))
            }
            try writer.finish()
        }
        guard shards.count > 1 else { return }
        let total = declarations.reduce(0) { $0 + (settings.type.byteCount(shape: $1.shape) ?? 0) }
        let index: JSON = ["metadata": ["total_size": JSON(total)], "weight_map": .object(JSONObject(map))]
        try files.writeDurably(index.serialized(pretty: true) + "\n", to: directory + "/model.safetensors.index.json")
    }

    private func five(_ n: Int) -> String { String(repeating: "0", count: max(0, 5 - "\(n)".count)) + "\(n)" }

    private func split(_ declarations: [WeightDeclaration]) -> [[WeightDeclaration]] {
        var shards: [[WeightDeclaration]] = [[]]
        var bytes = 0
        for declaration in declarations {
            let size = settings.type.byteCount(shape: declaration.shape) ?? 0
            if bytes + size > settings.shardBytes && !shards[shards.count - 1].isEmpty {
                shards.append([])
                bytes = 0
            }
            shards[shards.count - 1].append(declaration)
            bytes += size
        }
        return shards
    }

    /// One tensor, merged where it has an adapter, in blocks of rows.
    private func append(_ declaration: WeightDeclaration, to writer: SafetensorsWriter) throws {
        guard let view = base.tensor(declaration.tensor) else {
            throw LorikeetError.input("the model lacks the tensor '\(declaration.tensor)'", at: base.path, mend: "download the model again")
        }
        var (store, adapted): (any WeightStore, Low?) = (try rows(of: view), nil)
        if case .linear(let linear) = declaration.role {
            if settings.into != .stored { store = try convert(store, to: settings.into, name: view.name, cpu: cpu) }
            adapted = try low(linear)
        }
        let (rows, columns) = (store.rows, store.columns)
        let block = max(1, min(rows, (4 << 20) / max(1, columns * 4)))
        let floats = try Buffer(bytes: block * columns * 4)
        let encoded = try Buffer(bytes: block * columns * 4)
        for first in stride(from: 0, to: rows, by: block) {
            let count = min(block, rows - first)
            let values = floats.pointer(as: Float.self)
            cpu.parallelRanges(over: count) { range, _ in
                store.expand(rows: (first + range.lowerBound)..<(first + range.upperBound), into: values + range.lowerBound * columns)
            }
            if let adapted {
                cpu.gemm(
                    m: count, n: columns, k: adapted.rank, alpha: adapted.scale,
                    a: adapted.b.pointer(as: Float.self) + first * adapted.rank, lda: adapted.rank, b: adapted.a.pointer(as: Float.self),
                    ldb: columns, beta: 1, c: values, ldc: columns)
            }
            guard encode(values, count: count * columns, as: settings.type, into: encoded.base) else {
                throw LorikeetError.input(
                    "a merged weight of '\(declaration.tensor)' does not fit float16", at: base.path, mend: "merge to bfloat16 or float32")
            }
            let width = settings.type.blockBytes
            try writer.append(UnsafeRawBufferPointer(start: encoded.base, count: count * columns * width))
        }
    }

    /// A tensor as a matrix; vectors are one row.
    private func rows(of view: TensorView) throws -> any WeightStore {
        if view.shape.count == 2 { return try loadStore(view: view, storage: .stored, cpu: cpu) }
        let flat = TensorView(
            name: view.name, shape: [1, view.elementCount], type: view.type, file: view.file, offset: view.offset, byteCount: view.byteCount)
        return try loadStore(view: flat, storage: .stored, cpu: cpu)
    }

    private struct Low {
        let a: Buffer
        let b: Buffer
        let rank: Int
        let scale: Float
    }

    /// The adapter of a linear, if it has one.
    private func low(_ linear: LinearWeight) throws -> Low? {
        let name = "base_model.model.\(linear.name).lora_"
        guard let a = adapter.tensors[name + "A.weight"], let b = adapter.tensors[name + "B.weight"] else { return nil }
        let rank = adapter.configuration.r
        guard a.shape == [rank, linear.columns], b.shape == [linear.rows, rank] else {
            throw LorikeetError.input(
                "the adapter of '\(linear.name)' has shapes \(a.shape) and \(b.shape), the model needs [\(rank), \(linear.columns)] and [\(linear.rows), \(rank)]",
                at: base.path, mend: "merge into the model it was trained on")
        }
        let settings = LoRASettings(
            r: rank, alpha: adapter.configuration.alpha, targetModules: [], useRSLoRA: adapter.configuration.useRSLoRA)
        return Low(a: try floats(a), b: try floats(b), rank: rank, scale: settings.scale)
    }

    private func floats(_ view: TensorView) throws -> Buffer {
        let store = try loadStore(view: view, storage: .f32, cpu: nil)
        let buffer = try Buffer(bytes: max(4, store.rows * store.columns * 4))
        store.expand(rows: 0..<store.rows, into: buffer.pointer(as: Float.self))
        return buffer
    }

    private func writeConfiguration(to directory: String) throws {
        let names: [ElementType: String] = [.f16: "float16", .bf16: "bfloat16", .f32: "float32"]
        var json = base.configuration.json.object ?? [:]
        // `dtype` is today's key, `torch_dtype` what older readers look for.
        for key in ["dtype", "torch_dtype"] { json[key] = names[settings.type].map { .string($0) } }
        json["quantization_config"] = nil
        try files.writeDurably(JSON.object(json).serialized(pretty: true) + "\n", to: directory + "/config.json")
        var generation: JSONObject = [:]
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] { generation[key] = json[key] }
        try files.writeDurably(JSON.object(generation).serialized(pretty: true) + "\n", to: directory + "/generation_config.json")
    }
}
