import LorikeetGround
import LorikeetJSON
import LorikeetRecipe
import LorikeetReporting

/// A run's directory as a report reads it: its files alone. Missing and damaged ones leave gaps.
package struct RunFolder {
    package let path: String
    private let files: any Files

    package init(path: String, files: any Files = RealFiles()) {
        self.path = path
        self.files = files
    }

    private var events: String { path + "/events.jsonl" }
    package var report: String { path + "/report.html" }

    /// The run with the events of its file.
    ///
    /// - Throws: exit 2 where the directory holds no events.
    package func record() throws -> RunRecord {
        guard files.isDirectory(path) else {
            throw LorikeetError.input("no such directory", at: path, fix: "name the --output directory of a run")
        }
        guard files.exists(events) else {
            throw LorikeetError.input("the directory holds no events.jsonl", at: path, fix: "name the --output directory of a run that has begun")
        }
        let size = try files.byteCount(of: events)
        return try record(size == 0 ? RunLog() : files.read(events).withUnsafeBytes { RunLog(lines: $0) })
    }

    /// The run with these events.
    package func record(_ log: RunLog) throws -> RunRecord {
        let name = path.pathParts.last { $0 != "." && $0 != ".." } ?? path
        var record = RunRecord(name: name, log: log)
        record.plan = try files.ownJSON(path + "/plan.json")
        record.summary = try files.ownJSON(path + "/summary.json")
        // A run that goes on has more by now than the summary of its last session says.
        let told = log.end == nil ? nil : record.summary?["disk_bytes"]?.double
        record.diskBytes = told ?? Double(files.bytes(under: path))
        let yaml = path + "/run.yaml"
        guard files.exists(yaml), let bytes = try? files.read(yaml) else { return record }
        record.recipe = String(decoding: bytes, as: UTF8.self)
        // A recipe of another version may have keys that are not known here: its text is shown all the same.
        guard let recipe = try? Recipe.resolve(file: yaml, options: [], files: files).recipe else { return record }
        record.settings = recipe.reportedSettings
        record.presets = Self.presets(recipe, record)
        let goal = log.environment?["goal"]?.string ?? "run"
        record.command = "lorikeet \(goal) --config \((recipe.output + "/run.yaml").shellWord) --output \((recipe.output + "-again").shellWord)"
        return record
    }

    /// The rows in which the presets differ by intent, beside this run.
    private static func presets(_ recipe: Recipe, _ record: RunRecord) -> [RunRecord.PresetRow] {
        func value(_ key: String, _ preset: String?) -> String {
            guard let row = KeyTable.key(named: key) else { return "-" }
            let value = preset.map { row.presets[$0] ?? row.standard } ?? recipe.values[key] ?? row.standard
            switch value {
            case .none: return "all"
            case .text(let text): return text
            case .list(let names): return names.joined(separator: " ")
            default: return value.yaml.hasSuffix(".0") ? String(value.yaml.dropLast(2)) : value.yaml
            }
        }
        func row(_ name: String, _ keys: String...) -> RunRecord.PresetRow {
            .init(name: name, values: ["full", "kaggle-free", nil].map { preset in keys.map { value($0, preset) }.joined(separator: " / ") })
        }
        let report = record.log.data?["report"]
        let used = [report?["train"]?["samples"]?.int, report?["validation"]?["samples"]?.int].map { $0.map { "\($0)" } ?? "none" }
        let own = report == nil ? "" : " (\(used.joined(separator: " / ")) here)"
        var records = row("Training / validation records at most", "max_train_samples", "max_validation_samples")
        records = .init(name: records.name, values: records.values.dropLast() + [(records.values.last ?? "") + own])
        let type = record.log.environment?["compute_type"]?.string ?? record.plan?["choices"]?["compute_type"]?.string ?? recipe.computeType
        return [
            records, row("LoRA r / alpha / target modules", "lora.r", "lora.lora_alpha", "lora.target_modules"),
            row("num_train_epochs", "num_train_epochs"), row("gradient_accumulation_steps", "gradient_accumulation_steps"),
            row("eval_steps / save_steps / logging_steps", "eval_steps", "save_steps", "logging_steps"),
            row("learning_rate / warmup_steps", "learning_rate", "warmup_steps"), row("max_length", "max_length"),
            .init(name: "Compute type", values: ["bf16 where the card has it, else f16", "the same", type]), row("Merged as", "merge_dtype"),
        ]
    }
}

extension Recipe {
    /// Keys and values in the table's order, without those that say where and not what.
    package var reportedSettings: [RunRecord.Setting] {
        KeyTable.keys.filter { !["output", "scratch"].contains($0.name) }.compactMap { key in
            values[key.name].flatMap { $0 == .none ? nil : .init(key: key.name, value: $0.yaml) }
        }
    }
}
