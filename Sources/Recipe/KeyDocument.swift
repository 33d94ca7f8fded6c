extension KeyTable {
    /// docs/keys.md.
    package static func markdown() -> String {
        var lines = [
            "# Keys", "",
            "Every key of `run.yaml` is an option too. An option beats the file, the file the preset, the preset the default.",
            "Written from the table in `Sources/Recipe/KeyTable.swift` by its test.", "",
            "| key | option | values | default | kaggle-free | full | what it does |", "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for key in keys {
            let cells = ["kaggle-free", "full"].map { name in key.presets[name].map { "`\($0.yaml)`" } ?? "" }
            let standard = key.standard == .none ? "" : "`\(key.standard.yaml)`"
            lines.append("| `\(key.name)` | `--\(key.option)` | \(key.type.name) | \(standard) | \(cells[0]) | \(cells[1]) | \(key.help) |")
        }
        lines += [
            "", "## Names of other tools", "",
            "Each is read as the key beside it, in `run.yaml` and as an option, and a note says so. Two names of one key with different values are refused.",
            "", "| name | read as |", "| --- | --- |",
        ]
        for (key, names) in OtherTools.namesByKey { lines.append("| \(names.map { "`\($0)`" }.joined(separator: ", ")) | `\(key)` |") }
        for (name, meaning) in OtherTools.translatedNames { lines.append("| `\(name)` | \(meaning) |") }
        lines += ["", "Accepted without effect: " + OtherTools.ignored.keys.sorted().map { "`\($0)`" }.joined(separator: ", ") + "."]
        lines.append("Refused, because they ask for what is not there: " + OtherTools.refused.sorted().map { "`\($0)`" }.joined(separator: ", ") + ".")
        lines += [
            "", "## Which value counts", "",
            "What the user sets also beats what a preset sets under another key of the same meaning: `warmup_ratio` sets a preset's `warmup_steps` to 0, and an",
            "option `--num-train-epochs` beats a file's `max_steps`. Set in the same place, `warmup_steps` beats `warmup_ratio` and `max_steps` beats",
            "`num_train_epochs`, as in transformers, and a note says so.",
        ]
        return lines.joined(separator: "\n") + "\n"
    }
}
