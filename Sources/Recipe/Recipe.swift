import LorikeetGround

/// What the user asked for, every key resolved: option before file before preset before default.
package struct Recipe: Sendable, Equatable {
    package private(set) var values: [String: KeyValue]

    package init(values: [String: KeyValue] = [:]) { self.values = values }

    package mutating func set(_ key: String, _ value: KeyValue) { values[key] = value }

    package func text(_ key: String) -> String? { if case .text(let text) = values[key] { text } else { nil } }
    private func flag(_ key: String) -> Bool { if case .flag(let flag) = values[key] { flag } else { false } }
    private func integer(_ key: String) -> Int? { if case .integer(let number) = values[key] { number } else { nil } }
    private func number(_ key: String) -> Double {
        switch values[key] {
        case .number(let number): number
        case .integer(let number): Double(number)
        default: 0
        }
    }
    /// A list, or the one text of a key of paths.
    private func list(_ key: String) -> [String] {
        switch values[key] {
        case .list(let names): names
        case .text(let text): [text]
        default: []
        }
    }
    /// nil where the key is not set.
    private func optionalFlag(_ key: String) -> Bool? { if case .flag(let flag) = values[key] { flag } else { nil } }

    package var model: String? { text("model") }
    /// Files, folders or patterns.
    package var data: [String] { list("data") }
    package var validation: [String] { list("validation") }
    package var output: String { text("output") ?? "out" }
    package var preset: String { text("preset") ?? "kaggle-free" }
    package var maxTrainSamples: Int? { integer("max_train_samples") }
    package var maxValidationSamples: Int? { integer("max_validation_samples") }
    package var validationShare: Double { number("validation_share") }
    package var sample: String { text("sample") ?? "random" }
    package var shuffle: Bool { flag("shuffle") }
    package var instructionRole: String { text("instruction_role") ?? "user" }
    package var format: String { text("format") ?? "auto" }
    /// `ours=theirs` each.
    package var columns: [String] { list("columns") }
    package var datasetTextField: String { text("dataset_text_field") ?? "text" }
    package var assistantOnlyLoss: Bool? { optionalFlag("assistant_only_loss") }
    package var completionOnlyLoss: Bool? { optionalFlag("completion_only_loss") }
    /// A file or a built-in name; nil is the model's own.
    package var chatTemplate: String? { text("chat_template") }
    /// `yyyy-mm-dd`.
    package var templateDate: String? { text("template_date") }
    package var scratch: String? { text("scratch") }
    package var maxLength: Int { integer("max_length") ?? 512 }
    package var maxBadRecords: Double { number("max_bad_records") }
    package var packing: Bool { flag("packing") }
    package var lora: LoRARecipe {
        LoRARecipe(
            r: integer("lora.r") ?? 8, loraAlpha: number("lora.lora_alpha"), loraDropout: number("lora.lora_dropout"),
            targetModules: list("lora.target_modules"), useRslora: flag("lora.use_rslora"))
    }
    package var initAdapter: String? { text("init_adapter") }
    package var numTrainEpochs: Double { number("num_train_epochs") }
    package var maxSteps: Int { integer("max_steps") ?? -1 }
    package var perDeviceTrainBatchSize: Int { integer("per_device_train_batch_size") ?? 1 }
    package var gradientAccumulationSteps: Int { integer("gradient_accumulation_steps") ?? 1 }
    package var learningRate: Double { number("learning_rate") }
    package var optim: String { text("optim") ?? "adamw_torch" }
    package var lrSchedulerType: String { text("lr_scheduler_type") ?? "linear" }
    package var warmupSteps: Int { integer("warmup_steps") ?? 0 }
    package var warmupRatio: Double { number("warmup_ratio") }
    package var weightDecay: Double { number("weight_decay") }
    package var adamBeta1: Double { number("adam_beta1") }
    package var adamBeta2: Double { number("adam_beta2") }
    package var adamEpsilon: Double { number("adam_epsilon") }
    package var maxGradNorm: Double { number("max_grad_norm") }
    package var seed: Int { integer("seed") ?? 42 }
    package var loggingSteps: Int { integer("logging_steps") ?? 10 }
    package var evalSteps: Int { integer("eval_steps") ?? 0 }
    package var evalSamples: Int { integer("eval_samples") ?? 512 }
    package var loadBestModelAtEnd: Bool { flag("load_best_model_at_end") }
    package var metricForBestModel: String { text("metric_for_best_model") ?? "eval_loss" }
    package var earlyStoppingPatience: Int { integer("early_stopping_patience") ?? 0 }
    package var earlyStoppingThreshold: Double { number("early_stopping_threshold") }
    package var saveSteps: Int { integer("save_steps") ?? 0 }
    package var saveMinutes: Double { number("save_minutes") }
    package var saveTotalLimit: Int { integer("save_total_limit") ?? 0 }
    /// Whether TensorBoard's event files are written.
    package var writesTensorBoard: Bool { list("report_to").contains { ["tensorboard", "all"].contains($0) } }
    package var mergeDtype: String { text("merge_dtype") ?? "float32" }
    package var mergeInto: String { text("merge_into") ?? "original" }
    /// Forms that are written beside the merged model.
    package var export: [String] { list("export") }
    /// nil: a value for each form.
    package var exportTolerance: Double? { values["export_tolerance"] == nil || values["export_tolerance"] == KeyValue.none ? nil : number("export_tolerance") }
    package var mergeTolerance: Double { number("merge_tolerance") }
    package var testSamples: Int { integer("test_samples") ?? 0 }
    package var baseStorage: String { text("base_storage") ?? "auto" }
    package var device: String { text("device") ?? "auto" }
    package var computeType: String { text("compute_type") ?? "auto" }
    /// Compute capability times ten; nil is the card's own.
    package var gpuArchitecture: Int? { integer("gpu_arch") }
    /// Bytes of `gpu_memory`; nil without a cap.
    package var gpuMemoryBytes: Int64? { text("gpu_memory").flatMap { try? Units.parseBytes($0) } }
    package var tune: Bool { flag("tune") }
    package var fuse: Bool { flag("fuse") }
    package var threads: Int { integer("threads") ?? 0 }
    /// An earlier output's folder, or `auto`; nil where the run goes on from its own output alone.
    package var resumeFrom: String? { text("resume_from") }
    package var sessions: Int { integer("sessions") ?? 1 }
    package var fit: Bool { flag("fit") }
    /// Bytes of `ram` and `disk`; nil without a cap.
    package var ramBytes: Int64? { text("ram").flatMap { try? Units.parseBytes($0) } }
    package var diskBytes: Int64? { text("disk").flatMap { try? Units.parseBytes($0) } }
    /// nil when no `deadline` is given.
    package var deadline: TimeOfDay? { text("deadline").flatMap { TimeOfDay($0) } }
    /// Seconds of `session`; nil when it is not given.
    package var sessionSeconds: Double? { text("session").flatMap { try? Units.parseSeconds($0) } }

    /// Keys of that role in which two recipes differ, as `key: theirs -> ours`.
    package func differences(from other: Recipe, role: KeyRole) -> [String] {
        differences(from: other, keys: Set(KeyTable.keys.filter { $0.role == role }.map(\.name)))
    }

    /// Those of the keys in which two recipes differ, in the table's order, as `key: theirs -> ours`.
    package func differences(from other: Recipe, keys: Set<String>) -> [String] {
        KeyTable.keys.filter { keys.contains($0.name) && values[$0.name] != other.values[$0.name] }.map {
            "\($0.name): \(other.values[$0.name]?.yaml ?? "null") -> \(values[$0.name]?.yaml ?? "null")"
        }
    }
}

/// The `lora:` part.
package struct LoRARecipe: Sendable, Equatable {
    package var r: Int
    package var loraAlpha: Double
    package var loraDropout: Double
    package var targetModules: [String]
    package var useRslora: Bool
}
