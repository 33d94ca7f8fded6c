import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetRecipe
import LorikeetReporting
import Synchronization

@testable import Lorikeet

/// A run of the tiny reference model with a tokenizer of single characters, small enough for an emulated card.
struct TinyRun {
    /// The folder Tests.
    static let testsFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    let folder: String
    var output: String
    var options: [String: String] = [:]
    /// Processor threads.
    var threads = 2

    /// - Parameter change: changes the weights' file, byte by byte.
    init(change: ((inout Data) throws -> Void)? = nil) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        output = folder + "/out"
        try FileManager.default.createDirectory(atPath: folder + "/model", withIntermediateDirectories: true)
        let reference = TinyRun.testsFolder.appending(path: "Reference/llama")
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            var bytes = try Data(contentsOf: reference.appending(path: name))
            if name.hasSuffix("safetensors") { try change?(&bytes) }
            try bytes.write(to: URL(fileURLWithPath: folder + "/model/" + name))
        }
        try Self.write(Self.tokenizer, to: folder + "/model/tokenizer.json")
        try Self.write(
            ["bos_token": "<s>", "eos_token": "</s>", "chat_template": .string(Self.template)], to: folder + "/model/tokenizer_config.json")
        let records = (0..<24).map { #"{"prompt": "say \#($0 % 7):", "completion": "\#(String(repeating: "ab", count: 1 + $0 % 3))"}"# }
        try (records.joined(separator: "\n") + "\n").write(toFile: folder + "/train.jsonl", atomically: true, encoding: .utf8)
    }

    private static let template =
        "{%- for message in messages -%}{{ message['content'] }}{%- if message['role'] == 'assistant' -%}</s>{%- endif -%}{%- endfor -%}"

    /// One token a character; GPT-2's alphabet writes a newline as Ċ and a space as Ġ.
    private static var tokenizer: JSON {
        let specials = ["<pad>", "<s>", "</s>"]
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        return [
            "model": ["type": "BPE", "vocab": .object(JSONObject((specials + characters).enumerated().map { ($1, JSON($0)) })), "merges": []],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true], "decoder": ["type": "ByteLevel"],
            "added_tokens": .array(specials.enumerated().map { ["id": JSON($0), "content": .string($1), "special": true] }),
        ]
    }

    private static func write(_ json: JSON, to path: String) throws { try json.serialized().write(toFile: path, atomically: true, encoding: .utf8) }

    /// Multiplies a float32 tensor of the weights' file.
    static func scale(_ name: String, by factor: Float, in bytes: inout Data) throws {
        let length = Int(bytes.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) })
        let header = try JSON.parse(Array(bytes[8..<8 + length]), source: "header")
        guard let range = header[name]?["data_offsets"]?.array?.compactMap(\.int), range.count == 2 else { throw LorikeetError.input("no tensor \(name)") }
        for at in stride(from: 8 + length + range[0], to: 8 + length + range[1], by: 4) {
            let value = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: Float.self) } * factor
            withUnsafeBytes(of: value) { bytes.replaceSubrange(at..<at + 4, with: $0) }
        }
    }

    /// The recipe's options, as a caller of the library gives them.
    var allOptions: [String: String] {
        [
            "model": folder + "/model", "data": folder + "/train.jsonl", "output": output, "max-length": "48", "validation-share": "0.25",
            "num-train-epochs": "1", "per-device-train-batch-size": "3", "gradient-accumulation-steps": "1", "warmup-steps": "1",
            "learning-rate": "1e-2", "lora-dropout": "0.1", "test-samples": "3", "save-steps": "2", "eval-steps": "2", "logging-steps": "1",
            "save-total-limit": "0", "max-bad-records": "0",
            // Merged into the original weights a random model is not the one that was trained on NF4.
            "merge-tolerance": "10",
        ].merging(options) { $1 }
    }

    func recipe() throws -> Recipe {
        try Recipe.resolve(file: nil, options: allOptions.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }).recipe
    }

    /// The run through the public library, which keeps samples in the run's folder.
    ///
    /// - Parameter environment: more variables.
    func tuning(_ environment: [String: String] = [:]) throws -> FineTuning {
        let own = ["XDG_CACHE_HOME": folder + "/cache", "HF_HOME": folder + "/hub"]
        return try FineTuning(options: allOptions.merging(["threads": "\(threads)", "device": "cpu"]) { $1 }, environment: own.merging(environment) { $1 })
    }

    struct Outcome {
        var summary: JSON?
        var error: LorikeetError?
        var events: [Event]

        /// The texts of warnings and notes.
        var texts: [String] { events.compactMap { $0.fields["text"]?.string } }
        func count(_ kind: Event.Kind) -> Int { events.count { $0.kind == kind } }
    }

    /// Runs to the tested model on `device`, or on the processor.
    ///
    /// - Parameters:
    ///   - stopAfter: steps of this process after which it is asked to stop.
    ///   - change: what is otherwise in the pipeline's environment.
    func run(
        on device: EmulatedDevice?, goal: Pipeline.Goal = .testedModel, stopAfter: Int? = nil, files: any Files = RealFiles(),
        change: (inout PipelineEnvironment) -> Void = { _ in }
    ) throws -> Outcome {
        let heard = Heard()
        var environment = PipelineEnvironment(
            files: files, sinks: [heard], shouldStop: { stopAfter.map { heard.isTraining && heard.steps >= $0 } ?? false },
            open: { [threads] in try Self.open($0, device, threads: threads) })
        // At its beginning and its end alone, so that a run's changes of the disk do not depend on its speed.
        environment.reportSeconds = 1e9
        environment.inputFolders = []
        change(&environment)
        do {
            let summary = try Pipeline(recipe: recipe(), notes: [], goal: goal, environment: environment).run()
            return Outcome(summary: summary, events: heard.events)
        } catch let error as LorikeetError {
            return Outcome(error: error, events: heard.events)
        }
    }

    static func open(_ recipe: Recipe, _ device: EmulatedDevice?, threads: Int = 2) throws -> Compute {
        let cpu = CPU(threads: threads)
        guard let device else { return Compute(cpu: cpu) }
        return Compute(cpu: cpu, device: device, element: try DeviceRequest(recipe).element(for: device.properties))
    }

    func adapter() throws -> Data { try Data(contentsOf: URL(fileURLWithPath: output + "/adapter/adapter_model.safetensors")) }
    func json(_ name: String) throws -> JSON { try JSON.parse(String(contentsOfFile: output + "/" + name, encoding: .utf8), source: name) }
}

/// Keeps events, and counts steps for whoever stops a run.
final class Heard: EventSink, Sendable {
    private let kept = Mutex<[Event]>([])
    var events: [Event] { kept.withLock { $0 } }
    var steps: Int { events.count { $0.kind == .step } }
    var isTraining: Bool { isIn("training") }
    /// Whether the numbered step of this name is being done.
    func isIn(_ name: String) -> Bool {
        let last = events.last { $0.kind == .phase || $0.kind == .phaseEnd }
        return last?.kind == .phase && last?.fields["name"]?.string == name
    }
    func receive(_ event: Event) { kept.withLock { $0.append(event) } }
}
