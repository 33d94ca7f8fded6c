import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// Writes a model, or a base with an adapter added to it, as GGUF files that llama.cpp and Ollama load.
///
/// The tensors go from the base through `AddAdapter`, `GGUFLayout` and `ConvertPrecision` to a `GGUFSink`, a block of rows at a time. Before a
/// weight is read the file's header is made in memory, read again by this project's own reader, and compared with the model: what a GGUF cannot say is
/// refused by its name.
package struct GGUFExport {
    private let base: ModelSource
    private let adapter: AdapterFile?
    private let storage: BaseStorage
    private let files: any Files
    private let cpu: CPU
    private let writing: GGUFWriting
    private let tokenizer: GGUFTokenizer
    private let general: [(key: String, value: GGUFValue)]
    private let name: String
    /// What llama.cpp does differently with this model, as warnings for the user.
    package private(set) var warnings: [String]

    /// How a model is exported.
    package struct Settings: Sendable {
        /// `general.name`.
        package var name: String
        /// What the adapter is added to: `.stored` is the base as its file has it.
        package var into = BaseStorage.stored
        /// The chat template that the model was trained with, where it is not the base's own.
        package var template: String?

        package init(name: String) { self.name = name }
    }

    /// - Throws: exit 2 where a GGUF cannot hold the model, naming what it cannot say.
    package init(base: ModelSource, adapter: AdapterFile?, settings: Settings, files: any Files, cpu: CPU) throws {
        (self.base, self.adapter, storage, self.files, self.cpu) = (base, adapter, settings.into, files, cpu)
        writing = try GGUFWriting(base.configuration, path: base.path)
        tokenizer = try GGUFTokenizer(
            base.files, rows: base.configuration.vocabularySize, template: settings.template, files: files)
        (general, name) = (try Self.general(base, settings.name, files), settings.name)
        warnings = tokenizer.warnings
        warnings += try writing.differences(readAgain(.f32).configuration)
    }

    // MARK: the folder's items

    /// The file of one form, `NAME-Q8_0.gguf`.
    package func item(_ form: GGUFForm) throws -> ExportItem {
        ExportItem(form: form.rawValue, name: fileName(form), bytes: try bytes(form)) { try write(form, to: $0, files: $1, progress: $2) }
    }

    private func fileName(_ form: GGUFForm) -> String { "\(name)-\(form.label).gguf" }

    /// Ollama's Modelfiles: `Modelfile` for the first form, `Modelfile-F16` and so on for the others.
    package func modelfiles(_ forms: [GGUFForm]) throws -> [(name: String, text: String)] {
        guard let first = forms.first, let header = try readAgain(first).files.gguf else { return [] }
        let modelfile = try Modelfile(header)
        return try forms.map { form in (form == first ? "Modelfile" : "Modelfile-\(form.label)", try modelfile.text(for: fileName(form))) }
    }

    // MARK: the file

    /// Bytes of the file in a form.
    package func bytes(_ form: GGUFForm) throws -> Int {
        try GGUFWriter.fileBytes(path: base.path, metadata: metadata(form), tensors: descriptions(form).map(\.gguf))
    }

    /// - Parameter progress: called after each tensor with the share that is done; what it throws ends the writing.
    /// - Throws: exit 2 where a value is not finite or does not fit the form; exit 4 when the disk fails; `Interrupted` where the processor's
    ///   `interruption` says so, which is asked before each block of rows.
    package func write(_ form: GGUFForm, to path: String, files: any Files, progress: (Double) throws -> Void = { _ in }) throws {
        try GGUFSink(path: path, files: files, metadata: metadata(form)).write(tensors(form), progress: progress)
    }

    private func tensors(_ form: GGUFForm) throws -> [StreamedTensor] {
        let add = try adapter.map { try AddAdapter($0, base: base, cpu: cpu) }
        let layout = GGUFLayout(writing: writing)
        let mix = self.mix(form)
        let weights = try TensorStream(base, linearsThrough: storage, cpu: cpu).tensors().map { tensor in
            let placed = try layout.apply(add?.apply(tensor) ?? tensor)
            let type = mix.type(of: placed.description.name, shape: placed.description.shape)
            return try ConvertPrecision(to: type, path: base.path, cpu: cpu).apply(placed)
        }
        return ropeTensors + weights
    }

    /// The type of each tensor.
    private func mix(_ form: GGUFForm) -> QuantisationMix {
        let values = base.configuration.values
        let (layers, heads) = (values["num_hidden_layers"]?.int ?? 0, values["num_attention_heads"]?.int ?? 0)
        return QuantisationMix(
            form: form, architecture: writing.architecture, layers: layers, heads: heads, keyHeads: values["num_key_value_heads"]?.int ?? heads,
            isTied: !base.configuration.weights.contains { $0.tensor == "lm_head.weight" })
    }

    /// The tensors that say how the rotary frequencies are scaled. They are the first of the file, so that `readAgain` has them with the header.
    private var ropeTensors: [StreamedTensor] {
        writing.ropeTensors.map { tensor in
            StreamedTensor(description: TensorDescription(name: tensor.name, shape: [tensor.values.count], type: .f32)) {
                { _, memory in tensor.values.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(memory), byteCount: $0.count) } }
            }
        }
    }

    /// The tensors that will be written, without opening any.
    private func descriptions(_ form: GGUFForm) throws -> [TensorDescription] { try tensors(form).map(\.description) }

    // MARK: metadata

    private func metadata(_ form: GGUFForm) -> [(key: String, value: GGUFValue)] {
        let type: [(key: String, value: GGUFValue)] = [
            ("general.file_type", .unsigned(UInt64(form.fileType))), ("general.quantization_version", .unsigned(UInt64(GGUFForm.quantisationVersion))),
        ]
        return writing.metadata + general + type + tokenizer.entries
    }

    private static func general(_ base: ModelSource, _ name: String, _ files: any Files) throws -> [(key: String, value: GGUFValue)] {
        let parameters = base.configuration.weights.reduce(0) { $0 + $1.shape.reduce(1, *) }
        var result: [(key: String, value: GGUFValue)] = [
            ("general.type", .string("model")), ("general.name", .string(name)), ("general.size_label", .string(sizeLabel(parameters))),
        ]
        if let gguf = base.files.gguf {
            return result + gguf.metadata.filter { $0.key.hasPrefix("general.sampling.") }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        }
        let path = base.path + "/generation_config.json"
        guard files.exists(path) else { return result }
        let settings = try JSON.parse(files.read(path), source: path)
        for (key, name) in Sidecar.sampling {
            guard let number = settings[key], let value = number.double else { continue }
            guard name == "top_k" else {
                result.append(("general.sampling.\(name)", .float(value)))
                continue
            }
            guard let count = number.int ?? Int(exactly: value) else {
                throw LorikeetError.input("'\(key)' has to be a whole number, not \(value)", at: path, fix: "correct it, or remove the key")
            }
            result.append(("general.sampling.\(name)", .signed(Int64(count))))
        }
        return result
    }

    /// Parameters as llama.cpp's converter rounds them, to two digits at least: `135M`, `1.2B`.
    static func sizeLabel(_ parameters: Int) -> String {
        let units = [(1e12, "T"), (1e9, "B"), (1e6, "M")]
        let (unit, letter) = units.first { Double(parameters) > $0.0 } ?? (1e3, "K")
        let scaled = Double(parameters) / unit
        let whole = Int(scaled.rounded(.toNearestOrEven))
        guard whole < 10 else { return "\(whole)\(letter)" }
        let tenths = Int((scaled * 10).rounded(.toNearestOrEven))
        return "\(tenths / 10).\(tenths % 10)\(letter)"
    }

    // MARK: reading again

    /// Reads the header that will be written, as this project's reader sees a file whose weights are missing.
    private func readAgain(_ form: GGUFForm) throws -> ModelSource {
        let (metadata, tensors) = (metadata(form), try descriptions(form).map(\.gguf))
        let path = "the exported GGUF of " + base.path
        var beginning = try GGUFWriter.header(path: path, metadata: metadata, tensors: tensors)
        for tensor in writing.ropeTensors {
            tensor.values.withUnsafeBytes { beginning += $0 }
            while beginning.count % GGUFWriter.alignment != 0 { beginning.append(0) }
        }
        let count = try GGUFWriter.fileBytes(path: path, metadata: metadata, tensors: tensors)
        return try ModelSource(ModelFiles(gguf: MappedFile(path: path, count: count, pieces: [(0, beginning)])))
    }
}
