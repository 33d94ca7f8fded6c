import ArgumentParser
import Lorikeet
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

struct ExportVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes a model, or a base with an adapter, as GGUF files for llama.cpp and Ollama, or as a 4-bit directory for transformers and vLLM.",
        discussion: "Example: lorikeet export --model base --adapter out/adapter --output gguf --form f16,q8_0")
    @Option(help: "The model: a Hugging Face directory, a .gguf file, or a hub's ORG/NAME.") var model: String
    @Option(help: "A PEFT adapter folder, which is added to the model.") var adapter: String?
    @Option(help: "The directory to write; it must not be there yet.") var output: String
    @Option(help: "Forms, with commas between: \(ExportVerb.formNames).") var form: String
    @Option(help: "What the adapter is added to: stored (the base as its file has it), nf4, f16, bf16 or f32.") var into = "stored"
    @Option(help: "With \(BitsAndBytesExport.form): type of the other tensors, and of computing: float16, bfloat16 or float32.") var dtype = "float16"
    @Option(help: "The model's name, with which the files' names begin; without it that of the model's file or folder, of a run's merged/ its base's.")
    var name: String?
    @OptionGroup var processor: ProcessorOptions
    @Flag(help: "Print JSON.") var json = false

    static var formNames: String {
        (GGUFForm.allCases.map(\.rawValue) + [GGUFAdapterExport.form]).joined(separator: ", ") + "; or \(BitsAndBytesExport.form) alone, a directory"
    }

    /// The names in `--form`, each once.
    private var names: [String] { form.split(separator: ",").map { $0.lowercased() }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
    private var forms: [GGUFForm] { names.compactMap(GGUFForm.init(rawValue:)) }
    private var wantsAdapter: Bool { names.contains(GGUFAdapterExport.form) }
    private var isBitsAndBytes: Bool { names == [BitsAndBytesExport.form] }

    func validate() throws {
        guard !names.contains(BitsAndBytesExport.form) || isBitsAndBytes else {
            throw ValidationError("--form \(BitsAndBytesExport.form) writes a directory of its own: export it alone")
        }
        guard isBitsAndBytes || !names.isEmpty, isBitsAndBytes || names.count == forms.count + (wantsAdapter ? 1 : 0) else {
            throw ValidationError("--form has to be a list of \(Self.formNames), not '\(form)'")
        }
        guard BaseStorage(rawValue: into) != nil else { throw ValidationError("--into has to be stored, nf4, f16, bf16 or f32, not '\(into)'") }
        guard MergeVerb.types[dtype] != nil else { throw ValidationError("--dtype has to be float16, bfloat16 or float32, not '\(dtype)'") }
        guard !wantsAdapter || adapter != nil else { throw ValidationError("--form \(GGUFAdapterExport.form) exports an adapter: name it with --adapter") }
    }

    func run() throws {
        let files = Notebook.files
        try files.requireNew(output)
        if let name { try ModelName.require(name, at: "--name") }
        let path = try HubInputs.model(model)
        let source = try ModelSource.open(path)
        Screen.warn(source.warnings)
        let adapter = try adapter.map { try AdapterFile.read(directory: HubInputs.adapter($0)) }
        let template = try MergedTemplate(adapter: adapter?.path, base: source)
        Screen.warn(template.warnings)
        let (name, cpu) = (name ?? ModelName.of(path, files: files), processor.cpu)
        let start = SystemClock().uptime
        if isBitsAndBytes {
            var settings = MergeSettings(type: MergeVerb.types[dtype] ?? .f16, into: BaseStorage(rawValue: into) ?? .stored)
            settings.isNF4 = true
            settings.template = template.replacement
            let line = Screen.statusLine()
            let warnings = try line.during {
                try Merger(base: source, adapter: adapter, settings: settings, files: files, cpu: cpu).write(to: output) {
                    line.show("exporting \(BitsAndBytesExport.form)", $0)
                }
            }
            Screen.warn(warnings)
            let bytes = Int(files.bytes(under: output))
            return report([(BitsAndBytesExport.form, RealFiles.trimmed(output), bytes)], threads: cpu.threads, seconds: SystemClock().uptime - start)
        }
        var (items, texts): ([ExportItem], [(name: String, text: String)]) = ([], [])
        if !forms.isEmpty {
            var settings = GGUFExport.Settings(name: name)
            settings.into = BaseStorage(rawValue: into) ?? .stored
            settings.template = template.replacement
            let export = try GGUFExport(base: source, adapter: adapter, settings: settings, files: files, cpu: cpu)
            Screen.warn(export.warnings)
            (items, texts) = (try forms.map(export.item), try export.modelfiles(forms))
        }
        if wantsAdapter, let adapter { items.append(try GGUFAdapterExport(base: source, adapter: adapter, name: name, cpu: cpu).item()) }
        // A GGUF of an adapter has no place for its template.
        let beside = wantsAdapter ? template.text : nil
        let card = GGUFCard(
            files: items.map { GGUFCard.File(name: $0.name, form: GGUFForm(rawValue: $0.form), bytes: Int64($0.bytes)) }, modelfiles: texts, name: name,
            hasTemplate: beside != nil)
        texts += beside.map { [(AdapterTemplate.file, $0)] } ?? []
        texts.append(("README.md", card.text(title: name, base: ModelName.onHub(model, files: files), content: content(path))))
        let line = Screen.statusLine()
        try line.during { try ExportFolder(items, texts: texts, files: files).write(to: output) { line.show("exporting \($0.form)", $1) } }
        let folder = RealFiles.trimmed(output)
        report(items.map { ($0.form, folder + "/" + $0.name, $0.bytes) }, threads: cpu.threads, seconds: SystemClock().uptime - start)
    }

    /// What the card says is exported. Of a path only the last part is shown: the card is made to be published.
    private func content(_ path: String) -> GGUFCard.Content {
        let files = Notebook.files
        if let adapter { return .adapter(ModelName.onHub(adapter, files: files) ?? ModelName.shown(adapter)) }
        return ModelName.isOfRun(path, files: files) ? .merged : .model
    }

    private func report(_ items: [(form: String, path: String, bytes: Int)], threads: Int, seconds: Double) {
        if json {
            let list = items.map { ["form": .string($0.form), "path": .string($0.path), "bytes": JSON($0.bytes)] as JSON }
            Screen.out((["files": .array(list), "threads": JSON(threads), "seconds": .number(seconds)] as JSON).serialized(pretty: true) + "\n")
        } else {
            for item in items { Screen.out("\(item.path)  \(Units.formatBytes(Int64(item.bytes)))\n") }
            Screen.out("exported in \(Units.formatSeconds(seconds))\n")
        }
    }
}
