import LorikeetGround

extension Recipe {
    /// Resolves a recipe.
    ///
    /// - Parameters:
    ///   - file: a run.yaml, or nil.
    ///   - options: option names without dashes, and what was said.
    ///   - home: the user's home folder, which `~/` stands for in paths; nil where it is not known.
    /// - Returns: the recipe, and notes on keys that were accepted without effect or read as another key.
    /// - Throws: exit 2 with file:line or the option's name.
    package static func resolve(
        file: String?, options: [(key: String, value: String)], home: String? = nil, files: any Files = RealFiles()
    ) throws -> (recipe: Recipe, notes: [String]) {
        var notes: [String] = []
        let written = try file.map { try RecipeFile.read($0, home: home, files: files, notes: &notes) } ?? SaidKeys(home: home)
        var said = SaidKeys(home: home)
        for option in options { try said.add(option: option.key, option.value, notes: &notes) }
        let preset: String = if case .text(let name) = said.value("preset") ?? written.value("preset") { name } else { "kaggle-free" }
        var values: [String: KeyValue] = [:]
        for key in KeyTable.keys {
            values[key.name] = said.value(key.name) ?? written.value(key.name) ?? key.presets[preset] ?? key.standard
        }
        /// 2 an option, 1 the file, 0 preset or default.
        func level(_ key: String) -> Int { said.value(key) != nil ? 2 : written.value(key) != nil ? 1 : 0 }
        settleWarmup(&values, steps: level("warmup_steps"), ratio: level("warmup_ratio"), &notes)
        settleLength(&values, steps: level("max_steps"), epochs: level("num_train_epochs"), preset, &notes)
        if values["validation"] != KeyValue.none, case .number(let share)? = values["validation_share"], share > 0 {
            notes.append("'validation_share' has no effect here: 'validation' names the validation records")
        }
        try requireBestIsKnown(values)
        // A file may repeat every default, as that of `lorikeet init` and a run's own do.
        notes += IdleKeys.notes(values) { name in
            level(name) > 0 && KeyTable.key(named: name).map { values[name] != $0.presets[preset] ?? $0.standard } ?? true
        }
        return (Recipe(values: values), notes)
    }

    /// Refuses a recipe whose best checkpoint cannot be known.
    private static func requireBestIsKnown(_ values: [String: KeyValue]) throws {
        let keepsBest = values["load_best_model_at_end"] == .flag(true)
        guard !keepsBest || values["eval_steps"] != .integer(0) else {
            throw LorikeetError.input(
                "with 'eval_steps: 0' nothing is evaluated during training, and no checkpoint is known as the best", at: "load_best_model_at_end",
                fix: "give eval_steps, or leave load_best_model_at_end out")
        }
        guard keepsBest || [nil, KeyValue.none, .integer(0)].contains(values["early_stopping_patience"]) else {
            throw LorikeetError.input(
                "training that ends early delivers the best checkpoint, which is not kept", at: "early_stopping_patience",
                fix: "say load_best_model_at_end true")
        }
    }

    /// `warmup_steps` and `warmup_ratio` say the same: where they were set in different places the higher place counts (option, file, preset),
    /// in one place `warmup_steps` does unless it is 0, as in transformers.
    private static func settleWarmup(_ values: inout [String: KeyValue], steps: Int, ratio: Int, _ notes: inout [String]) {
        if ratio > steps {
            values["warmup_steps"] = .integer(0)
        } else if steps > ratio {
            values["warmup_ratio"] = .number(0)
        } else if steps > 0, values["warmup_steps"] != .integer(0), values["warmup_ratio"] != .number(0) {
            notes.append("'warmup_ratio' has no effect here: 'warmup_steps' is set too and takes precedence")
        }
    }

    /// The same for `max_steps` and `num_train_epochs`.
    private static func settleLength(_ values: inout [String: KeyValue], steps: Int, epochs: Int, _ preset: String, _ notes: inout [String]) {
        guard case .integer(let count)? = values["max_steps"], count > 0 else { return }
        if epochs > steps {
            values["max_steps"] = .integer(-1)
        } else if epochs == steps, let key = KeyTable.key(named: "num_train_epochs"), values[key.name] != key.presets[preset] ?? key.standard {
            notes.append("'num_train_epochs' has no effect here: 'max_steps' is set too and takes precedence")
        }
    }

    /// `true`, `yes`, `on`, `1` and their opposites; nil for other text.
    package static func switchValue(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "true", "yes", "on", "1": true
        case "false", "no", "off", "0": false
        default: nil
        }
    }
}

/// The keys that one place sets: the file, or the options.
struct SaidKeys {
    private struct Setting {
        var value: KeyValue
        /// As it was written.
        let name: String
    }

    private var settings: [String: Setting] = [:]
    /// What `~/` stands for in paths.
    let homeFolder: String?

    init(home: String?) { homeFolder = home }

    /// What became of a name and its text.
    enum Addition {
        /// A key of the table, or a name of another tool's that is read or has no effect.
        case known
        case unknown
        /// A name of another tool's that asks for what is not there.
        case unsupported(LorikeetError)
    }

    func value(_ key: String) -> KeyValue? { settings[key]?.value }

    /// Sets a key of the table under the name it was written with.
    ///
    /// - Throws: exit 2 when another name of this key has set another value.
    mutating func set(_ key: Key, _ value: KeyValue, name: String, at place: String) throws {
        if let before = settings[key.name], before.name != name, before.value != value {
            throw LorikeetError.input(
                "'\(before.name)' (\(before.value.yaml)) and '\(name)' (\(value.yaml)) are two names of one key and differ", at: place,
                fix: "remove one of them")
        }
        settings[key.name] = Setting(value: value, name: name)
    }

    /// Sets what `name: text` says: a key of the table, or a name of another tool.
    ///
    /// - Parameter shown: the name as errors and notes say it.
    /// - Throws: exit 2 for a value that the key cannot have.
    mutating func add(_ name: String, text: String, shown: String, at place: String, notes: inout [String]) throws -> Addition {
        if let key = KeyTable.key(named: name) {
            let value = try key.parse(text, home: homeFolder, at: place)
            try set(key, value, name: shown, at: place)
            if let note = KeyTable.note(key, value) { notes.append("\(place): \(note)") }
            return .known
        }
        switch OtherTools.meaning(of: name, text) {
        case .keys(let keys):
            for (name, text) in keys {
                guard let key = KeyTable.key(named: name) else { continue }
                let value = try key.parse(text, home: homeFolder, at: place)
                try set(key, value, name: shown, at: place)
                if let note = KeyTable.note(key, value) { notes.append("\(place): \(note)") }
            }
            notes.append("\(place): '\(shown)' is read as " + keys.map { "'\($0.key): \($0.value)'" }.joined(separator: " and "))
            return .known
        case .nothing(let why):
            notes.append("\(place): '\(shown)' has no effect here: \(why)")
            return .known
        case .refused(let fix): throw LorikeetError.input("'\(shown): \(text)' cannot be read", at: place, fix: fix)
        case nil: return try addWithoutKey(name, text, shown: shown, at: place, notes: &notes)
        }
    }

    /// Names that set no key of the table.
    private func addWithoutKey(_ name: String, _ text: String, shown: String, at place: String, notes: inout [String]) throws -> Addition {
        let plain = text.lowercased()
        if let why = OtherTools.ignored[name] {
            if let allowed = OtherTools.valuesWithoutEffect[name], !allowed.contains(plain), !Self.nothing.contains(plain) {
                throw LorikeetError.input(
                    "'\(shown)' can only be \(allowed.sorted().joined(separator: ", ")), not '\(text)'", at: place, fix: "remove the key")
            }
            notes.append("\(place): '\(shown)' has no effect here: \(why)")
            return .known
        }
        guard OtherTools.refused.contains(name) else { return .unknown }
        return Self.no.contains(plain) ? .known : .unsupported(LorikeetError.input("'\(shown)' is not supported", at: place, fix: "remove the key"))
    }

    mutating func add(option: String, _ text: String, notes: inout [String]) throws {
        let place = "--\(option)"
        if let key = KeyTable.key(option: option) {
            var value = try key.parse(text, home: homeFolder, at: place)
            if let before = settings[key.name], before.name == option {
                // Files and pairs may be named by several options; of other values the last counts, as command lines have it.
                if [.paths, .pairs].contains(key.type) {
                    value = before.value.joined(value)
                    if key.type == .pairs, case .list(let entries) = value { value = try key.pairs(entries, at: place) }
                } else if before.value != value {
                    notes.append("\(place) is given twice: \(value.yaml) counts, and \(before.value.yaml) does not")
                }
            }
            try set(key, value, name: option, at: place)
            if let note = KeyTable.note(key, value) { notes.append("\(place): \(note)") }
            return
        }
        let name = String(option.map { $0 == "-" ? "_" : $0 })
        switch try add(name, text: text, shown: option, at: place, notes: &notes) {
        case .known: break
        case .unsupported(let error): throw error
        case .unknown:
            let near = meantName(by: option, among: KeyTable.keys.map(\.option))
            throw LorikeetError.input("unknown option", at: place, fix: near.map { "did you mean --\($0)?" })
        }
    }

    /// How YAML writes nothing.
    static let nothing = ["null", "~", ""]
    /// How a key that asks for something is switched off.
    static let no = nothing + ["false", "no", "off", "none", "0", "0.0"]
}
