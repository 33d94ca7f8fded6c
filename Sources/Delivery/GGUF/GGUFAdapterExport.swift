import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Writes a LoRA adapter as a GGUF that llama.cpp loads beside its base (`--lora`): `general.type` adapter, and for each matrix A and B under the
/// base's name of the matrix, `NAME.lora_a` [r, in] and `NAME.lora_b` [out, r], float32.
///
/// llama.cpp adds alpha / r · B A. Where modules have other scales than the first (alphas by module, rank-stabilised LoRA), B is multiplied by the ratio.
package struct GGUFAdapterExport {
    private let base: ModelSource
    private let adapter: AdapterFile
    private let writing: GGUFWriting
    private let settings: LoRASettings
    private let name: String
    private let cpu: CPU
    /// The adapted matrices' names in the base, in its order, without `.weight`.
    private let modules: [String]
    /// `adapter.lora.alpha`
    private let alpha: Double

    /// - Parameter name: `general.name`.
    /// - Throws: exit 2 where the adapter does not fit the base, or holds more than LoRA's matrices.
    package init(base: ModelSource, adapter: AdapterFile, name: String, cpu: CPU) throws {
        (self.base, self.adapter, self.name, self.cpu) = (base, adapter, name, cpu)
        writing = try GGUFWriting(base.configuration, path: base.path)
        // Holds every tensor of the adapter to the model's shapes.
        _ = try AddAdapter(adapter, base: base, cpu: cpu)
        let family = base.configuration.family
        let settings = try LoRASettings(adapter, weights: family.weights())
        modules = family.linears().map(\.name).filter { adapter.tensors[Self.tensor($0, "A")] != nil }
        self.settings = settings
        let known = Set(modules.flatMap { [Self.tensor($0, "A"), Self.tensor($0, "B")] })
        if let other = adapter.tensors.keys.sorted().first(where: { !known.contains($0) }) {
            throw LorikeetError.input(
                "the adapter also holds '\(other)', and a GGUF adapter can hold LoRA matrices only", at: adapter.path, fix: "export the merged model")
        }
        guard let first = modules.first else {
            throw LorikeetError.input("the adapter belongs to no matrix of the model", at: adapter.path, fix: "name the base model that it was trained on")
        }
        alpha = Double(settings.scale(of: first)) * Double(settings.rank(of: first))
        // llama.cpp has one alpha for all modules: theirs are relative to the first one's.
        guard alpha.isFinite, alpha != 0 else {
            throw LorikeetError.input(
                "the scale of '\(first)' is \(alpha == 0 ? "0" : "not a finite number"), which a GGUF adapter cannot store", at: adapter.path,
                fix: "check lora_alpha in its adapter_config.json")
        }
    }

    private static func tensor(_ module: String, _ letter: String) -> String { "base_model.model.\(module).lora_\(letter).weight" }

    private var metadata: [(key: String, value: GGUFValue)] {
        [
            ("general.architecture", .string(writing.architecture)), ("general.type", .string("adapter")), ("adapter.type", .string("lora")),
            ("general.name", .string(name)), ("adapter.lora.alpha", .float(alpha)), ("general.quantization_version", .unsigned(2)),
        ]
    }

    private func tensors() throws -> [StreamedTensor] {
        let layout = GGUFLayout(writing: writing)
        return try modules.flatMap { module -> [StreamedTensor] in
            guard let a = adapter.tensors[Self.tensor(module, "A")], let b = adapter.tensors[Self.tensor(module, "B")] else {
                throw LorikeetError.input("the adapter lacks a matrix of '\(module)'", at: adapter.path, fix: "save the adapter again")
            }
            let weight = module + ".weight"
            let place = try writing.place(of: weight, rows: b.shape.first ?? 0)
            if case .plus = place.change {
                throw LorikeetError.input(
                    "'\(module)' is stored with a constant added to its values, which a GGUF adapter cannot express", at: base.path,
                    fix: "export the merged model")
            }
            let factor = Float(Double(settings.scale(of: module)) * Double(settings.rank(of: module)) / alpha)
            // B's rows are the matrix's, A's rows the rank's.
            let up = try layout.apply(stream(b, named: weight, times: factor)).renamed(place.name + ".lora_b")
            // Refuses what is not finite.
            let check = ConvertPrecision(to: .f32, path: adapter.path, cpu: cpu)
            return try [check.apply(stream(a, named: place.name + ".lora_a", times: 1)), check.apply(up)]
        }
    }

    private func stream(_ view: TensorView, named name: String, times factor: Float) -> StreamedTensor {
        StreamedTensor(description: TensorDescription(name: name, shape: view.shape, type: .f32)) { [cpu] in
            let blocks = try RowBlocks(view)
            return { rows, memory in
                try cpu.requireGoing()
                try blocks.withStore(rows) { store in
                    let values = memory.assumingMemoryBound(to: Float.self)
                    store.expand(rows: 0..<store.rows, into: values)
                    if factor != 1 { for i in 0..<store.rows * store.columns { values[i] *= factor } }
                }
            }
        }
    }

    /// The file, `NAME-LoRA-F32.gguf`.
    package func item() throws -> ExportItem {
        ExportItem(form: Self.form, name: "\(name)-LoRA-F32.gguf", bytes: try bytes()) { try write(to: $0, files: $1, progress: $2) }
    }

    /// What the command line calls it.
    package static let form = "lora-gguf"

    /// - Parameters:
    ///   - files: of the folder under construction, where that is one.
    ///   - progress: called after each tensor with the share that is done; what it throws ends the writing.
    package func write(to path: String, files: any Files, progress: (Double) throws -> Void = { _ in }) throws {
        try GGUFSink(path: path, files: files, metadata: metadata).write(tensors(), progress: progress)
    }

    /// Bytes of the file.
    package func bytes() throws -> Int { try GGUFWriter.fileBytes(path: adapter.path, metadata: metadata, tensors: tensors().map(\.description.gguf)) }
}

extension StreamedTensor {
    /// The same under another name.
    fileprivate func renamed(_ name: String) -> StreamedTensor {
        StreamedTensor(description: TensorDescription(name: name, shape: description.shape, type: description.type), open: open)
    }
}
