import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetReporting

/// A fine-tuning run as a library: resolve a recipe, look at its plan, run it, listen.
///
///     let tuning = try FineTuning(options: ["model": "model.gguf", "data": "train.jsonl", "output": "out"])
///     print(try await tuning.plan())
///     for try await event in tuning.run() { print(event.name, event.json) }
///
/// Every error is a ``LorikeetFailure``. Its methods may be called from any task and any actor: what takes long runs on threads of its own, and
/// occupies none of Swift's cooperative threads.
///
/// `model` and `data` are paths, or names on a hub (`Qwen/Qwen3-0.6B`): then `environment` says where the cache is (`HF_HOME` or `HOME`) and which
/// hub is asked (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
///
/// The option `device` says where to compute: `auto` (a card where there is one), `cpu`, `cuda:0`. NVIDIA's libraries are looked for
/// where the system has them.
public struct FineTuning: Sendable {
    let recipe: Recipe
    let notes: [String]
    let environment: [String: String]

    /// Resolves a recipe: options beat the file, the file the preset.
    ///
    /// - Parameters:
    ///   - file: a `run.yaml`; nil without one.
    ///   - options: names as on the command line without dashes (`lora-r`, `learning-rate`), and their values.
    ///   - environment: the variables for names on a hub and for the cache folder, such as `ProcessInfo.processInfo.environment`. Samples are
    ///     kept in `XDG_CACHE_HOME/lorikeet` or `HOME/.cache/lorikeet`, of the process's own environment where it names neither; the option
    ///     `scratch` names another folder.
    /// - Throws: for an unknown key or option, or a value that a key cannot have; with file and line, or the option's name. And on a processor
    ///   without AVX2 and FMA.
    public init(file: String? = nil, options: [String: String] = [:], environment: [String: String] = [:]) throws(LorikeetFailure) {
        self.environment = environment
        let sorted = options.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
        (recipe, notes) = try LorikeetFailure.result {
            // Before anything else: other code may have vector instructions.
            try Machine.requireVectorInstructions()
            return try Recipe.resolve(file: file, options: sorted)
        }.get()
    }

    var cacheFolder: String? { CacheFolder.path(environment) ?? CacheFolder.ofProcess }

    /// Finds models and data; a download ends where `shouldStop` says so.
    func locator(_ shouldStop: @escaping @Sendable () -> Bool) -> InputLocator { Self.locator(environment, shouldStop) }

    static func locator(_ variables: [String: String], _ shouldStop: @escaping @Sendable () -> Bool) -> InputLocator {
        var client = HubEnvironment()
        client.shouldStop = shouldStop
        return InputLocator(variables: variables, client: client)
    }

    /// Merges a PEFT adapter into its base, streamed, as a Hugging Face directory of float16 safetensors. Where the calling task is cancelled, merging
    /// ends after the present block of rows and leaves nothing on the disk.
    ///
    /// - Parameters:
    ///   - model: the base: a Hugging Face directory, a `.gguf` file, or a hub's `ORG/NAME`.
    ///   - adapter: a PEFT folder, or its name on a hub.
    ///   - output: the directory to write, which must not exist yet.
    ///   - threads: of the processor, at most 1,024; 0 takes as many as this process may use.
    ///   - environment: for names on a hub instead of paths, as in ``init(file:options:environment:)``.
    /// - Returns: warnings: what the model's files hold that is not used, and what the merged directory lacks.
    /// - Throws: where model or adapter cannot be read, do not belong together or give a weight that float16 cannot hold, where `output` exists,
    ///   where the disk fails, and where the calling task was cancelled (``LorikeetFailure/Kind-swift.enum/interrupted``).
    @discardableResult
    public static func merge(
        model: String, adapter: String, output: String, threads: Int = 0, environment: [String: String] = [:]
    ) async throws(LorikeetFailure) -> [String] {
        try LorikeetFailure.result {
            try Machine.requireVectorInstructions()
            guard (0...1024).contains(threads) else { throw LorikeetError.input("has to be between 0 and 1024", at: "threads", fix: "leave it out") }
        }.get()
        return try await OwnThread.run { isCancelled in
            let check = CancellationCheck(isCancelled: isCancelled)
            let locator = locator(environment, isCancelled)
            try RealFiles().requireNew(output)
            let base = try ModelSource.open(locator.model(model).path)
            let file = try AdapterFile.read(directory: locator.adapter(adapter).path)
            let template = try MergedTemplate(adapter: file.path, base: base)
            var settings = MergeSettings(type: .f16)
            settings.template = template.replacement
            try check()
            let cpu = DeviceRequest(device: "cpu", threads: threads).processor
            cpu.interruption = isCancelled
            let warnings = try Merger(base: base, adapter: file, settings: settings, files: RealFiles(), cpu: cpu).write(to: output)
            return base.warnings + template.warnings + warnings
        }
    }
}
