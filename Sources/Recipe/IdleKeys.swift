/// Keys that a file or an option sets and that have no effect beside the other values: each gets a note, for a file serves several runs.
enum IdleKeys {
    /// - Parameter isSaid: whether a file or an option sets the key to another value than the preset's or the default; those are not told.
    static func notes(_ values: [String: KeyValue], isSaid: (String) -> Bool) -> [String] {
        rows.compactMap { key, why in
            guard isSaid(key), let reason = why(values) else { return nil }
            return "'\(key)' has no effect here: \(reason)"
        }
    }

    private typealias Values = [String: KeyValue]

    /// A key, and why it has no effect; nil where it has one.
    private static let rows: [(key: String, why: @Sendable (Values) -> String?)] = [
        ("sessions", { $0["sessions"] != .integer(1) && isUnset($0, "session") && isUnset($0, "deadline") ? "'session' gives no length of a session" : nil }),
        ("eval_samples", { $0["eval_steps"] == .integer(0) ? "with 'eval_steps: 0' nothing is evaluated during training" : nil }),
        ("metric_for_best_model", withoutBest), ("early_stopping_threshold", { $0["early_stopping_patience"] == .integer(0) ? withoutPatience : nil }),
        (
            "save_total_limit",
            { $0["save_steps"] == .integer(0) && isZero($0["save_minutes"]) ? "without 'save_steps' and 'save_minutes' one checkpoint is written" : nil }
        ),
        ("warmup_steps", { $0["warmup_steps"] == .integer(0) ? nil : constant($0) }), ("warmup_ratio", { isZero($0["warmup_ratio"]) ? nil : constant($0) }),
        (
            "sample",
            { isUnset($0, "max_train_samples") && isUnset($0, "max_validation_samples") ? "no 'max_train_samples' leaves records out" : nil }
        ),
        ("dataset_text_field", { format($0, among: ["messages", "conversations", "instruction", "question", "prompt"]) }),
        ("instruction_role", { format($0, among: ["messages", "conversations", "question", "prompt", "text"]) }),
        ("export_tolerance", { isUnset($0, "export") || $0["export"] == .list([]) || $0["export"] == .list(["none"]) ? "'export' names no form" : nil }),
        ("compute_type", { [.text("float16"), .text("bfloat16")].contains($0["compute_type"]) ? processor($0) : nil }), ("gpu_arch", processor),
        ("gpu_memory", processor), ("tune", { $0["tune"] == .flag(true) ? processor($0) : nil }),
    ]

    private static let withoutPatience = "without 'early_stopping_patience' training goes to its end"

    private static func withoutBest(_ values: Values) -> String? {
        values["load_best_model_at_end"] == .flag(false) ? "without 'load_best_model_at_end' the last step's adapter is delivered" : nil
    }

    private static func isUnset(_ values: Values, _ key: String) -> Bool { values[key] == nil || values[key] == KeyValue.none }
    private static func isZero(_ value: KeyValue?) -> Bool { value == .integer(0) || value == .number(0) }

    private static func constant(_ values: Values) -> String? {
        values["lr_scheduler_type"] == .text("constant") ? "'lr_scheduler_type: constant' has no warm-up, constant_with_warmup has one" : nil
    }

    private static func format(_ values: Values, among formats: [String]) -> String? {
        guard case .text(let format)? = values["format"], formats.contains(format) else { return nil }
        return "'format: \(format)' has nothing that it says"
    }

    private static func processor(_ values: Values) -> String? { values["device"] == .text("cpu") ? "the processor computes, in float32" : nil }
}
