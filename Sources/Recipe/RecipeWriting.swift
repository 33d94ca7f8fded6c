extension Recipe {
    /// run.yaml with every key: this file alone repeats the run.
    package func yaml() -> String {
        Self.write {
            values[$0.name] ?? $0.standard
        } comment: { _ in
            nil
        }
    }

    /// A run.yaml to start from: every key with its value under a preset, explained.
    package static func commentedTemplate(preset: String) -> String {
        "# A Lorikeet recipe. Set model and data. Every other line may be removed: it repeats what the preset or the default is.\n"
            + write { key in
                switch key.name {
                case "model": .text("path/to/model-directory-or.gguf")
                case "data": .text("train.jsonl")
                case "preset": .text(preset)
                default: key.presets[preset] ?? key.standard
                }
            } comment: {
                $0.help
            }
    }

    private static func write(_ value: (Key) -> KeyValue, comment: (Key) -> String?) -> String {
        var lines: [String] = []
        var inLora = false
        for key in KeyTable.keys {
            let nested = key.name.hasPrefix("lora.")
            if nested && !inLora { lines.append("lora:") }
            inLora = nested
            let indent = nested ? "  " : ""
            if let text = comment(key) { lines.append("\(indent)# \(text)") }
            lines.append("\(indent)\(nested ? String(key.name.dropFirst(5)) : key.name): \(value(key).yaml)")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
