import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Writes a model, or a base with an adapter, in other forms: `lorikeet export`, and `FineTuning.export`.
package struct Exporter: Sendable {
    /// A model or an adapter.
    package struct Input: Sendable {
        /// As the user wrote it.
        package let named: String
        package let path: String

        package init(named: String, path: String) { (self.named, self.path) = (named, path) }
    }

    private let options: FineTuning.ExportOptions
    private let forms: ExportForms
    private let into: BaseStorage
    private let type: ElementType
    private let files: any Files
    /// Asked before each block of rows: true ends the export with `Interrupted`, and nothing stays on the disk.
    package var interruption: (@Sendable () -> Bool)?

    /// The names of all forms, in words.
    package static var formNames: String {
        ExportForms.names.filter { $0 != BitsAndBytesExport.form }.joined(separator: ", ") + " (gguf is \(ExportForms.standard.rawValue)); or "
            + "\(BitsAndBytesExport.form) alone, a directory"
    }

    /// The element types of weights that are written as safetensors, by their names.
    package static let types: [String: ElementType] = ["float16": .f16, "bfloat16": .bf16, "float32": .f32]

    /// - Parameter shown: what an error calls an option: `forms`, `into`, `dtype`, `adapter`, `name`, `threads`.
    /// - Throws: exit 2 for options that cannot be used, or not together.
    package init(_ options: FineTuning.ExportOptions, files: any Files = RealFiles(), shown: (String) -> String = { $0 }) throws {
        forms = try ExportForms(options.forms, at: shown("forms"))
        guard !forms.hasDirectory || forms.hasNoGGUF else {
            throw LorikeetError.input("\(BitsAndBytesExport.form) writes a directory of its own", at: shown("forms"), fix: "export it alone")
        }
        guard forms.hasDirectory || !forms.hasNoGGUF else {
            throw LorikeetError.input("no form is named", at: shown("forms"), fix: "name some of \(Self.formNames)")
        }
        guard let into = BaseStorage(rawValue: options.into) else {
            throw LorikeetError.input("has to be stored, nf4, f16, bf16 or f32, not '\(options.into)'", at: shown("into"), fix: "leave it out")
        }
        guard let type = Self.types[options.dtype] else {
            throw LorikeetError.input("has to be float16, bfloat16 or float32, not '\(options.dtype)'", at: shown("dtype"), fix: "leave it out")
        }
        guard !forms.hasAdapter || options.adapter != nil else {
            throw LorikeetError.input("\(GGUFAdapterExport.form) exports an adapter", at: shown("forms"), fix: "name the adapter with \(shown("adapter"))")
        }
        guard (0...1024).contains(options.threads) else {
            throw LorikeetError.input("has to be between 0 and 1024", at: shown("threads"), fix: "leave it out")
        }
        if let name = options.name { try ModelName.require(name, at: shown("name")) }
        (self.options, self.into, self.type, self.files) = (options, into, type, files)
    }

    /// Writes the directory.
    ///
    /// - Parameters:
    ///   - adapter: is added to the model.
    ///   - warn: called with what is known before anything is written.
    ///   - progress: called after each tensor with the form and the share of it that is done; what it throws ends the export, and nothing stays on the
    ///     disk.
    /// - Throws: exit 2 where model or adapter cannot be read, do not fit, or cannot be written in a form, or `output` exists; exit 3 where the disk is
    ///   too small; exit 4 where it fails; `Interrupted`.
    package func write(
        _ model: Input, adapter: Input?, to output: String, warn: ([String]) -> Void, progress: (String, Double) throws -> Void
    ) throws -> FineTuning.Export {
        let source = try ModelSource.open(model.path)
        warn(source.warnings)
        let adapterFile = try adapter.map { try AdapterFile.read(directory: $0.path) }
        let template = try MergedTemplate(adapter: adapterFile?.path, base: source)
        warn(template.warnings)
        let cpu = DeviceRequest(device: "cpu", threads: options.threads).processor
        cpu.interruption = interruption
        let folder = RealFiles.trimmed(output)
        if forms.hasDirectory {
            var settings = MergeSettings(type: type, into: into)
            settings.isNF4 = true
            settings.template = template.replacement
            warn(
                try Merger(base: source, adapter: adapterFile, settings: settings, files: files, cpu: cpu).write(to: output) {
                    try progress(BitsAndBytesExport.form, $0)
                })
            return FineTuning.Export(files: [.init(form: BitsAndBytesExport.form, path: folder, bytes: files.bytes(under: output))], threads: cpu.threads)
        }
        let name = options.name ?? ModelName.of(model.path, files: files)
        var (items, texts): ([ExportItem], [(name: String, text: String)]) = ([], [])
        if !forms.gguf.isEmpty {
            var settings = GGUFExport.Settings(name: name)
            (settings.into, settings.template) = (into, template.replacement)
            let export = try GGUFExport(base: source, adapter: adapterFile, settings: settings, files: files, cpu: cpu)
            warn(export.warnings)
            (items, texts) = (try forms.gguf.map(export.item), try export.modelfiles(forms.gguf))
        }
        if forms.hasAdapter, let adapterFile { items.append(try GGUFAdapterExport(base: source, adapter: adapterFile, name: name, cpu: cpu).item()) }
        // A GGUF of an adapter has no place for its template.
        let beside = forms.hasAdapter ? template.text : nil
        let card = GGUFCard(
            files: items.map { GGUFCard.File(name: $0.name, form: GGUFForm(rawValue: $0.form), bytes: Int64($0.bytes)) }, modelfiles: texts, name: name,
            hasTemplate: beside != nil)
        texts += beside.map { [(AdapterTemplate.file, $0)] } ?? []
        texts.append(("README.md", card.text(title: name, base: ModelName.onHub(model.named, files: files), content: content(model, adapter))))
        try ExportFolder(items, texts: texts, from: [source], files: files).write(to: output) { try progress($0.form, $1) }
        return FineTuning.Export(files: items.map { .init(form: $0.form, path: folder + "/" + $0.name, bytes: Int64($0.bytes)) }, threads: cpu.threads)
    }

    /// What the card says is exported. Of a path only the last part is shown: the card is made to be published.
    private func content(_ model: Input, _ adapter: Input?) -> GGUFCard.Content {
        if let adapter { return .adapter(ModelName.onHub(adapter.named, files: files) ?? ModelName.shown(adapter.named)) }
        return ModelName.isOfRun(model.path, files: files) ? .merged : .model
    }
}
