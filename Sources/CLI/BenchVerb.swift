import ArgumentParser
import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning

struct BenchVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measures a training step or decoding, and the device's limit for it in the same run.",
        discussion: """
            Example: lorikeet bench --device cpu --shape smollm2-135m --seq 512 --json
            Example: lorikeet bench --decode --device cuda:0 --shape llama-3.2-1b --sequences 16 --prompt 128 --new 128 --json
            docs/benchmarks.md says what the fields of --decode mean.
            """)
    @Option(help: "\(Bench.shapes.joined(separator: ", ")), with random weights.") var shape: String?
    @Option(help: "A model instead of a shape.") var model: String?
    @OptionGroup var place: DeviceOptions
    @Option(help: "Tokens of a step [the sequence; on a card the fastest micro-batch that fits].") var tokens: Int?
    @Option(help: "Bytes of a card's memory to stay under, e.g. 16GiB [all].") var gpuMemory: String?
    @Option(help: "A file of record lengths in tokens, one a line. Every 16 records are a step, packed; padding does not count.") var lengths: String?
    @Option(help: "Tokens of a segment.") var seq = 512
    @Option(help: "Rank of the adapters.") var loraR = 8
    @Option(help: "Dropout of the adapters.") var loraDropout = 0.0
    @Option(help: "Linears with an adapter, separated by commas.") var targetModules = "q_proj,v_proj"
    @Option(help: "auto, nf4, f16, bf16 or f32.") var baseStorage = "auto"
    @Option(help: "Measured rounds: the fastest counts on a processor, the median on a card.") var rounds = 15
    @Option(help: "false runs the plain program, with an op for every step.") var fuse = true
    @Flag(help: "Measure a card's algorithms for matrix products and keep the fastest; gains are rare.") var tune = false
    @Flag(help: "Measure decoding instead of training.") var decode = false
    @Option(help: "With --decode: sequences that are decoded together.") var sequences = 1
    @Option(help: "With --decode: tokens of each prompt.") var prompt = 128
    @Option(help: "With --decode: new tokens of each sequence.") var new = 128
    @Flag(help: "Also print the time of each kind of op.") var profile = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard (1...1_000_000).contains(seq) else { throw ValidationError("--seq has to be between 1 and 1000000") }
        guard (1...1_000_000).contains(tokens ?? seq) else { throw ValidationError("--tokens has to be between 1 and 1000000") }
        guard (1...1024).contains(loraR) else { throw ValidationError("--lora-r has to be between 1 and 1024") }
        guard (0..<0.95).contains(loraDropout) else { throw ValidationError("--lora-dropout has to be at least 0 and below 0.95") }
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds has to be between 1 and 1000") }
        guard baseStorage == "auto" || BaseStorage(rawValue: baseStorage) != nil else {
            throw ValidationError("--base-storage has to be auto, nf4, f16, bf16 or f32")
        }
        guard (1...1024).contains(sequences) else { throw ValidationError("--sequences has to be between 1 and 1024") }
        guard (1...100_000).contains(prompt), (4...100_000).contains(new) else {
            throw ValidationError("--prompt has to be between 1 and 100000, and --new between 4 and 100000")
        }
        guard (shape == nil) != (model == nil) else { throw ValidationError("give --shape or --model") }
    }

    private static func lengths(_ path: String) throws -> [Int] {
        let text = String(decoding: try RealFiles().read(path), as: UTF8.self)
        return try text.split(whereSeparator: \.isNewline).enumerated().map { line, field in
            guard let length = Int(field.filter { $0 != " " }), (1...1_000_000).contains(length) else {
                throw LorikeetError.input("'\(field.prefix(20))' is no length", at: "\(path):\(line + 1)", fix: "write one whole number a line")
            }
            return length
        }
    }

    func run() throws {
        let source = try model.map { try ModelSource.open(HubInputs.model($0)) }
        Screen.warn(source?.warnings ?? [])
        let configuration = try source?.configuration ?? Bench.configuration(shape: shape ?? "")
        let storage = BaseStorage(rawValue: baseStorage) ?? (source?.isGGUF == true ? .stored : .nf4)
        let lora = LoRASettings(r: loraR, alpha: 16, dropout: loraDropout, targetModules: targetModules.split(separator: ",").map(String.init))
        let compute = try place.compute(more: (gpuMemory == nil ? [] : ["gpu_memory"]) + (tune ? ["tune"] : []))
        compute.device?.gemmChoices?.begin(measuring: tune)
        if decode {
            var bench = DecodeBench(configuration: configuration, source: source, storage: storage, compute: compute)
            (bench.sequences, bench.prompt, bench.new, bench.rounds) = (sequences, prompt, new, rounds)
            let result = try bench.run(profiled: profile)
            return show(result.json, result.profile)
        }
        var bench = Bench(configuration: configuration, source: source, storage: storage, lora: lora, compute: compute)
        bench.tokens = tokens ?? (place.device == "cpu" ? seq : nil)
        bench.sequence = seq
        bench.rounds = rounds
        bench.memoryCap = try gpuMemory.map { Int(try Units.parseBytes($0)) }
        bench.lengths = try lengths.map { try Self.lengths($0) }
        bench.fuse = fuse
        if compute.device == nil { bench.processor = try DeviceModel.measured(compute.cpu, columns: configuration.hiddenSize).model }
        let result = try bench.run(profiled: profile)
        keep(result.json, Measurements.Subject(configuration, storage, compute))
        show(result.json, result.profile)
    }

    /// Keeps how long a step took for plans of this model on this device. What was measured is without other processes' work: the fastest of the rounds.
    private func keep(_ result: JSON, _ subject: Measurements.Subject) {
        guard let folder = Notebook.samplesFolder, let measured = result["step_seconds"]?.double, let predicted = result["predicted_step_seconds"]?.double
        else { return }
        // A run's steps are computed by replicas where there are threads for them; those of few segments are not.
        let most = Replicas(threads: result["threads"]?.int ?? 1, samplesPerStep: .max).count
        guard result["device"]?.string != "cpu" || result["replicas"]?.int == most else { return }
        let steps = Double(rounds * (result["steps"]?.int ?? 1))
        var (measurements, _) = Measurements.read(from: folder, files: Notebook.files)
        measurements.add("training", predicted: predicted * steps, measured: measured * steps, subject)
        do {
            try measurements.write(to: folder, files: Notebook.files)
        } catch {
            Screen.note(["how long a step took could not be kept for the next plan: \(error)"])
        }
    }

    /// The measurements and, where it was asked for, the time of each kind of op: as JSON, or a line each.
    private func show(_ result: JSON, _ ops: [Session.OpTime]) {
        guard json else {
            for entry in result.object?.entries ?? [] {
                Screen.out(entry.key + String(repeating: " ", count: max(2, 28 - entry.key.count)) + entry.value.serialized() + "\n")
            }
            for op in ops {
                let rate = op.work.matrixFlops > 0 ? "  \(Int(op.work.matrixFlops / op.seconds / 1e9)) GFLOP/s" : ""
                Screen.out(op.kind + String(repeating: " ", count: max(2, 28 - op.kind.count)) + "\(Float(op.seconds)) s, \(op.count) times\(rate)\n")
            }
            return
        }
        var object = result.object ?? [:]
        if profile {
            object["profile"] = .array(
                ops.map {
                    [
                        "op": .string($0.kind), "count": JSON($0.count), "seconds": .number($0.seconds), "gflop": .number($0.work.matrixFlops / 1e9),
                        "bytes": .number($0.work.bytesMoved),
                        "parts": .array(
                            $0.parts.sorted { $0.value.seconds > $1.value.seconds }.map {
                                ["name": .string($0.key), "count": JSON($0.value.count), "seconds": .number($0.value.seconds)]
                            }),
                    ]
                })
        }
        Screen.out(JSON.object(object).serialized(pretty: true) + "\n")
    }
}
