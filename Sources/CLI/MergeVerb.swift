import ArgumentParser
import Lorikeet
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

struct MergeVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", abstract: "Merges an adapter into its base, in blocks of rows, and writes a Hugging Face directory.",
        discussion: "Example: lorikeet merge --model model.gguf --adapter out/adapter --output merged --dtype float16")
    @Option(help: "The base: a Hugging Face directory, a .gguf file, or a hub's ORG/NAME.") var model: String
    @Option(help: "A PEFT adapter folder.") var adapter: String
    @Option(help: "The directory to write; it must not be there yet.") var output: String
    @Option(help: "float16, bfloat16 or float32.") var dtype = "float16"
    @Option(help: "What to merge into: stored (the base as its file has it), nf4, f16, bf16 or f32.") var into = "stored"
    @OptionGroup var processor: ProcessorOptions
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard Exporter.types[dtype] != nil else { throw ValidationError("--dtype has to be float16, bfloat16 or float32, not '\(dtype)'") }
        guard BaseStorage(rawValue: into) != nil else { throw ValidationError("--into has to be stored, nf4, f16, bf16 or f32, not '\(into)'") }
    }

    func run() throws {
        let files = Notebook.files
        try files.requireNew(output)
        StopSignal.startCatching(patience: 10)
        var settings = MergeSettings(type: Exporter.types[dtype] ?? .f16, into: BaseStorage(rawValue: into) ?? .stored)
        let source = try ModelSource.open(HubInputs.model(model))
        Screen.warn(source.warnings)
        let adapter = try AdapterFile.read(directory: HubInputs.adapter(adapter))
        let template = try MergedTemplate(adapter: adapter.path, base: source)
        settings.template = template.replacement
        let cpu = processor.cpu
        cpu.interruption = { StopSignal.isCaught }
        let start = SystemClock().uptime
        let merger = Merger(base: source, adapter: adapter, settings: settings, files: files, cpu: cpu)
        let line = Screen.statusLine()
        let warnings = try line.during {
            try StopSignal.removingWhatWasWritten { try merger.write(to: output) { line.show("merging", $0) } }
        }
        Screen.warn(warnings)
        // Only now: an adapter that does not fit the model ends with that error alone, without a warning before it.
        Screen.warn(template.warnings)
        let seconds = SystemClock().uptime - start
        if json {
            let result: JSON = ["output": .string(output), "dtype": .string(dtype), "threads": JSON(cpu.threads), "seconds": .number(seconds)]
            Screen.out(result.serialized(pretty: true) + "\n")
        } else {
            Screen.out("merged into \(output) as \(dtype) in \(Units.formatSeconds(seconds))\n")
        }
    }
}
