import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetHub
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
/// `model` and `data` are paths, or names on a hub (`Qwen/Qwen3-0.6B`): then `environment` says where the cache is (`HF_HOME` or `HOME`) and which
/// hub is asked (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
///
/// The option `device` says where to compute: `auto` (a card where there is one), `cpu`, `cuda:0`. NVIDIA's libraries are looked for
/// where the system has them.
public struct FineTuning: Sendable {
    private let recipe: Recipe
    private let notes: [String]
    private let environment: [String: String]

    /// Resolves a recipe: options beat the file, the file the preset.
    ///
    /// - Parameters:
    ///   - file: a `run.yaml`; nil without one.
    ///   - options: names as on the command line without dashes (`lora-r`, `learning-rate`), and their values.
    ///   - environment: the variables for names on a hub and for the cache folder, such as `ProcessInfo.processInfo.environment`. Samples are
    ///     kept in `XDG_CACHE_HOME/lorikeet` or `HOME/.cache/lorikeet`, of the process's own environment where it names neither; the option
    ///     `scratch` names another folder.
    /// - Throws: for an unknown key or option, or a value that a key cannot have; with file and line, or the option's name.
    public init(file: String? = nil, options: [String: String] = [:], environment: [String: String] = [:]) throws {
        self.environment = environment
        let sorted = options.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
        (recipe, notes) = try Recipe.resolve(file: file, options: sorted)
    }

    private var cacheFolder: String? { CacheFolder.path(environment) ?? CacheFolder.ofProcess }

    /// One event of a run: what `events.jsonl` has as a line (`progress` is not written there). docs/events.md lists the fields of each.
    public struct Event: Sendable {
        /// `environment`, `phase`, `phase_end`, `data`, `step`, `log`, `evaluation`, `checkpoint`,
        /// `progress`, `warning`, `note`, `result` or `end`.
        public let name: String
        /// The event as one line of JSON.
        public let json: String
    }

    /// Memory by part, disk and time, as a table; no weights are loaded, and none are fetched from a hub.
    public func plan() throws -> String {
        let compute = try DeviceRequest(recipe).open()
        let located = try InputLocator(variables: environment).locate(recipe, weights: false)
        var preparation = try Preparation(recipe: located.recipe, files: located.files)
        let dataset = try preparation.loadData(cacheFolder: cacheFolder, files: located.files, cpu: compute.cpu)
        return try preparation.plan(dataset, merges: true, compute: compute, clock: SystemClock()).table()
    }

    /// Runs the whole pipeline, or goes on with it, in a detached task, which blocks one thread of Swift's concurrency pool until the run ends.
    ///
    /// - Returns: the events as they happen. The stream throws where the run fails, a check fails or a proof fails, and where the run was stopped
    ///   early with everything saved.
    public func run() -> AsyncThrowingStream<Event, any Error> {
        let (recipe, notes, variables, cacheFolder) = (recipe, notes, environment, cacheFolder)
        return AsyncThrowingStream { continuation in
            let stop = StopFlag()
            continuation.onTermination = { _ in stop.set() }
            Task.detached {
                var client = HubEnvironment()
                client.shouldStop = { stop.isSet }
                var environment = PipelineEnvironment(
                    sinks: [StreamSink(continuation)], shouldStop: { stop.isSet }, locator: InputLocator(variables: variables, client: client))
                environment.cacheFolder = cacheFolder
                do {
                    _ = try Pipeline(recipe: recipe, notes: notes, goal: .testedModel, environment: environment).run()
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
        }
    }

    /// Merges a PEFT adapter into its base, streamed, as a Hugging Face directory of float16 safetensors.
    ///
    /// - Parameters:
    ///   - model: the base: a Hugging Face directory, a `.gguf` file, or a hub's `ORG/NAME`.
    ///   - adapter: a PEFT folder, or its name on a hub.
    ///   - output: the directory to write, which must not exist yet.
    ///   - threads: of the processor; 0 takes as many as this process may use.
    ///   - environment: for names on a hub instead of paths, as in ``init(file:options:environment:)``.
    /// - Returns: warnings: what the model's files hold that is not used, and what the merged directory lacks.
    /// - Throws: where model or adapter cannot be read, do not belong together or give a weight that float16 cannot hold, where `output` exists,
    ///   and where the disk fails.
    @discardableResult
    public static func merge(model: String, adapter: String, output: String, threads: Int = 0, environment: [String: String] = [:]) throws -> [String] {
        let locator = InputLocator(variables: environment)
        let base = try ModelSource.open(locator.model(model).path)
        let file = try AdapterFile.read(directory: locator.adapter(adapter).path)
        let template = try MergedTemplate(adapter: file.path, base: base)
        var settings = MergeSettings(type: .f16)
        settings.template = template.replacement
        let warnings = try Merger(
            base: base, adapter: file, settings: settings, files: RealFiles(), cpu: DeviceRequest(device: "cpu", threads: threads).processor
        ).write(to: output)
        return base.warnings + template.warnings + warnings
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
