import ArgumentParser
import Lorikeet
import LorikeetDelivery
import LorikeetDevices
import LorikeetGround
import LorikeetJSON

struct ExportVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes a model, or a base with an adapter, as GGUF files for llama.cpp and Ollama, or as a 4-bit directory for transformers and vLLM.",
        discussion: "Example: lorikeet export --model base --adapter out/adapter --output gguf --form f16,q8_0")
    @Option(help: "The model: a Hugging Face directory, a .gguf file, or a hub's ORG/NAME.") var model: String
    @Option(help: "A PEFT adapter folder, which is added to the model.") var adapter: String?
    @Option(help: "The directory to write; it must not be there yet.") var output: String
    @Option(help: "Forms, with commas between: \(Exporter.formNames).") var form: String
    @Option(help: "What the adapter is added to: stored (the base as its file has it), nf4, f16, bf16 or f32.") var into = "stored"
    @Option(help: "With \(BitsAndBytesExport.form): type of the other tensors, and of computing: float16, bfloat16 or float32.") var dtype = "float16"
    @Option(help: "The model's name, with which the files' names begin; without it that of the model's file or folder, of a run's merged/ its base's.")
    var name: String?
    @OptionGroup var processor: ProcessorOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let files = Notebook.files
        var options = FineTuning.ExportOptions(forms: form.split(separator: ",").map(String.init), adapter: adapter)
        (options.into, options.dtype, options.name, options.threads) = (into, dtype, name, processor.threads)
        var exporter = try Exporter(options, files: files) { $0 == "forms" ? "--form" : "--" + $0 }
        exporter.interruption = { StopSignal.isCaught }
        try files.requireNew(output)
        StopSignal.startCatching(patience: 10)
        let base = Exporter.Input(named: model, path: try HubInputs.model(model))
        let added = try adapter.map { Exporter.Input(named: $0, path: try HubInputs.adapter($0)) }
        let start = SystemClock().uptime
        let line = Screen.statusLine()
        let export = try line.during {
            try StopSignal.removingWhatWasWritten {
                try exporter.write(base, adapter: added, to: output, warn: Screen.warn) { line.show("exporting \($0)", $1) }
            }
        }
        report(export, seconds: SystemClock().uptime - start)
    }

    private func report(_ export: FineTuning.Export, seconds: Double) {
        if json {
            let list = export.files.map { ["form": .string($0.form), "path": .string($0.path), "bytes": .integer($0.bytes)] as JSON }
            Screen.out((["files": .array(list), "threads": JSON(export.threads), "seconds": .number(seconds)] as JSON).serialized(pretty: true) + "\n")
        } else {
            for file in export.files { Screen.out("\(file.path)  \(Units.formatBytes(file.bytes))\n") }
            Screen.out("exported in \(Units.formatSeconds(seconds))\n")
        }
    }
}
