import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetReporting
import Synchronization

/// A fine-tuning run as a library: resolve a recipe, look at its plan, run it, listen.
///
///     let tuning = try FineTuning(options: ["model": "model.gguf", "data": "train.jsonl", "output": "out"])
///     print(try tuning.plan())
///     for try await event in tuning.run() { print(event.name, event.json) }
///
/// Every error's description says what is wrong, where, and the fix. Ending the loop (or cancelling its task) stops the run after
/// the step it is in, with everything saved; running the same recipe again goes on.
///
/// The option `device` says where to compute: `auto` (a card where there is one), `cpu`, `cuda:0`. NVIDIA's libraries are looked for
/// where the system has them.
public struct FineTuning: Sendable {
    private let recipe: Recipe
    private let notes: [String]

    /// Resolves a recipe: options beat the file, the file the preset.
    ///
    /// - Parameters:
    ///   - file: a `run.yaml`; nil without one.
    ///   - options: names as on the command line without dashes (`lora-r`, `learning-rate`), and their values.
    public init(file: String? = nil, options: [String: String] = [:]) throws {
        let sorted = options.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
        (recipe, notes) = try Recipe.resolve(file: file, options: sorted)
    }

    /// One event of a run: what `events.jsonl` has as a line.
    public struct Event: Sendable {
        /// `phase`, `phase_end`, `step`, `log`, `evaluation`, `checkpoint`, `warning`, `note` or `result`.
        public let name: String
        /// The event as one line of JSON.
        public let json: String
    }

    /// Memory by part, disk and time, as a table; no weights are loaded.
    public func plan() throws -> String {
        let files = RealFiles()
        let compute = try DeviceRequest(recipe).open()
        var preparation = try Preparation(recipe: recipe, files: files)
        let dataset = try preparation.loadData(files: files, cpu: compute.cpu)
        return try preparation.plan(dataset, merges: true, compute: compute, clock: SystemClock()).table()
    }

    /// Runs the whole pipeline, or goes on with it, on a thread of its own.
    public func run() -> AsyncThrowingStream<Event, any Error> {
        let (recipe, notes) = (recipe, notes)
        return AsyncThrowingStream { continuation in
            let stop = StopFlag()
            continuation.onTermination = { _ in stop.set() }
            Task.detached {
                let environment = PipelineEnvironment(sinks: [StreamSink(continuation)], shouldStop: { stop.isSet })
                do {
                    _ = try Pipeline(recipe: recipe, notes: notes, goal: .testedModel, environment: environment).run()
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
        }
    }

    /// Merges a PEFT adapter into its base, streamed, as a Hugging Face directory of float16 safetensors. `output` must not exist yet.
    ///
    /// - Returns: warnings: what the model's files hold that is not used, and what the merged directory lacks.
    @discardableResult
    public static func merge(model: String, adapter: String, output: String) throws -> [String] {
        let base = try ModelSource.open(model)
        let warnings = try Merger(
            base: base, adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: .f16), files: RealFiles(),
            cpu: CPU()
        ).write(to: output)
        return base.warnings + warnings
    }
}

/// Hands events to a stream.
private final class StreamSink: EventSink {
    private let continuation: AsyncThrowingStream<FineTuning.Event, any Error>.Continuation

    init(_ continuation: AsyncThrowingStream<FineTuning.Event, any Error>.Continuation) { self.continuation = continuation }

    func receive(_ event: LorikeetReporting.Event) {
        continuation.yield(FineTuning.Event(name: event.kind.rawValue, json: event.json.serialized()))
    }
}

/// Set once, from any thread.
private final class StopFlag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}
