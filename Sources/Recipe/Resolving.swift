import LorikeetGround
import Yams

extension Recipe {
    /// Resolves a recipe.
    ///
    /// - Parameters:
    ///   - file: a run.yaml, or nil.
    ///   - options: option names without dashes, and what was said.
    /// - Returns: the recipe, and notes on keys that were accepted without effect.
    /// - Throws: exit 2 with file:line or the option's name.
    package static func resolve(
        file: String?, options: [(key: String, value: String)], files: any Files = RealFiles()
    ) throws -> (recipe: Recipe, notes: [String]) {
        var notes: [String] = []
        let written = try file.map { try read($0, files: files, notes: &notes) } ?? [:]
        var optionValues: [String: KeyValue] = [:]
        for option in options {
            let place = "--\(option.key)"
            guard let key = KeyTable.key(option: option.key) else {
                let near = nearestName(to: option.key, among: KeyTable.keys.map(\.option))
                throw LorikeetError.input("unknown option", at: place, fix: near.map { "did you mean --\($0)?" })
            }
            let value = try parse(option.value, key, at: place)
            optionValues[key.name] = value
            if let note = KeyTable.note(key, value) { notes.append("\(place): \(note)") }
        }
        let preset: String = if case .text(let name) = optionValues["preset"] ?? written["preset"] { name } else { "kaggle-free" }
        var values: [String: KeyValue] = [:]
        for key in KeyTable.keys {
            values[key.name] = optionValues[key.name] ?? written[key.name] ?? key.presets[preset] ?? key.standard
        }
        return (Recipe(values: values), notes)
    }

    private static func read(_ path: String, files: any Files, notes: inout [String]) throws -> [String: KeyValue] {
        let text = try files.readText(path)
        let node: Node?
        do { node = try Yams.compose(yaml: text) } catch {
            let line = (error as? YamlError).flatMap(line(of:))
            throw LorikeetError.input("not readable as YAML", at: line.map { "\(path):\($0)" } ?? path, fix: "fix the line; keys are written as 'key: value'")
        }
        guard let node else { return [:] }
        guard case .mapping(let mapping) = node else {
            throw LorikeetError.input("not a list of keys", at: path, fix: "write 'key: value' lines")
        }
        var values: [String: KeyValue] = [:]
        for (key, value) in mapping {
            let name = key.string ?? ""
            if name == "lora", case .mapping(let inner) = value {
                for (key, value) in inner { try readKey("lora." + (key.string ?? ""), value, key, path, &values, &notes) }
            } else {
                try readKey(name, value, key, path, &values, &notes)
            }
        }
        return values
    }

    private static func line(of error: YamlError) -> Int? {
        switch error {
        case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _): mark.line
        default: nil
        }
    }

    private static func readKey(
        _ name: String, _ value: Node, _ keyNode: Node, _ path: String, _ values: inout [String: KeyValue], _ notes: inout [String]
    ) throws {
        let place = path + (keyNode.mark.map { ":\($0.line)" } ?? "")
        guard let key = KeyTable.key(named: name) else {
            if let why = KeyTable.ignored[name] {
                try refuseOtherValues(name, value, at: place)
                notes.append("\(place): '\(name)' has no effect here: \(why)")
                return
            }
            if KeyTable.refused.contains(name) {
                let no = ["false", "null", "none", "", "0", "~"]
                if case .scalar(let scalar) = value, no.contains(scalar.string.lowercased()) { return }
                if value.sequence?.isEmpty == true || value.mapping?.isEmpty == true { return }
                throw LorikeetError.input("'\(name)' is not supported", at: place, fix: "remove the key")
            }
            let near = nearestName(to: name, among: KeyTable.keys.map(\.name))
            throw LorikeetError.input("unknown key '\(name)'", at: place, fix: near.map { "did you mean '\($0)'?" })
        }
        switch value {
        case .scalar(let scalar):
            let plain = scalar.style == .plain || scalar.style == .any
            let value = try plain && nothing.contains(scalar.string.lowercased()) ? KeyValue.none : parse(scalar.string, key, at: place)
            values[name] = value
            if let note = KeyTable.note(key, value) { notes.append("\(place): \(note)") }
        case .sequence(let sequence) where key.type == .list:
            values[name] = try list(sequence.compactMap(\.string), key, at: place)
        default: throw LorikeetError.input("'\(name)' has to be \(key.type.name)", at: place, fix: "write '\(name): VALUE'")
        }
    }

    /// How YAML writes nothing.
    private static let nothing = ["null", "~", ""]

    /// Refuses a value of a key without effect unless it asks for what the program does anyway.
    private static func refuseOtherValues(_ name: String, _ value: Node, at place: String) throws {
        guard let valuesWithoutEffect = KeyTable.valuesWithoutEffect[name] else { return }
        let said = value.string ?? ""
        guard value.scalar == nil || !(valuesWithoutEffect.contains(said.lowercased()) || nothing.contains(said.lowercased())) else { return }
        throw LorikeetError.input(
            "'\(name)' can only be \(valuesWithoutEffect.sorted().joined(separator: ", "))" + (said.isEmpty ? "" : ", not '\(said)'"), at: place,
            fix: "remove the key")
    }

    /// `true`, `yes`, `on`, `1` and their opposites; nil for other text.
    package static func switchValue(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "true", "yes", "on", "1": true
        case "false", "no", "off", "0": false
        default: nil
        }
    }

    /// Text to value, with its range checked.
    private static func parse(_ text: String, _ key: Key, at place: String) throws -> KeyValue {
        func wrong(_ expected: String) -> LorikeetError { .input("'\(key.name)' has to be \(expected), not '\(text)'", at: place, fix: "give \(expected)") }
        switch key.type {
        case .string, .path:
            guard !text.isEmpty else { throw wrong("a text") }
            return .text(text)
        case .flag:
            guard let value = switchValue(text) else { throw wrong("true or false") }
            return .flag(value)
        case .integer(let range):
            guard let value = Int(text) ?? Double(text).flatMap({ Int(exactly: $0) }) else { throw wrong("a whole number") }
            guard range.contains(value) else { throw wrong("between \(range.lowerBound) and \(range.upperBound)") }
            return .integer(value)
        case .number(let range):
            guard let value = Double(text), value.isFinite else { throw wrong("a number") }
            guard range.contains(value) else { throw wrong("between \(range.lowerBound) and \(range.upperBound)") }
            return .number(value)
        case .choice(let names):
            guard names.contains(text) else { throw wrong("one of \(names.joined(separator: ", "))") }
            return .text(text)
        case .list: return try list(text.split(separator: ",").map { $0.filter { $0 != " " } }, key, at: place)
        case .bytes:
            _ = try Units.parseBytes(text)
            return .text(text)
        case .duration:
            _ = try Units.parseSeconds(text)
            return .text(text)
        case .device:
            guard ["auto", "cpu", "cuda"].contains(text) || text.wholeMatch(of: /cuda:\d{1,2}/) != nil else { throw wrong("auto, cpu or cuda:N") }
            return .text(text)
        }
    }

    private static func list(_ names: [String], _ key: Key, at place: String) throws -> KeyValue {
        guard !names.isEmpty, !names.contains("") else { throw LorikeetError.input("'\(key.name)' needs at least one name", at: place, fix: "write [a, b]") }
        return .list(names)
    }

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
        "# A Lorikeet recipe. Set model and data; every other line may go: it says what the preset says.\n"
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
