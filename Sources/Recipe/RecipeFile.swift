import LorikeetGround
import Yams

/// A recipe's file: YAML of one level, and `lora:` with a second one.
enum RecipeFile {
    /// Recipes are small; a larger file is something else.
    private static let largest = 1 << 20

    /// What has been read of a file.
    private struct Reading {
        var said: SaidKeys
        var notes: [String] = []
        var rejected: [Rejected] = []
    }

    /// A key that is not known or not supported. All of a file are named at once: recipes of other tools have many.
    private struct Rejected {
        /// The error where it is the only one.
        let error: LorikeetError
        /// How a list names it.
        let shown: String
    }

    /// - Returns: what the file sets; notes are added to `notes`.
    /// - Throws: exit 2 where it cannot be read, for a value that a key cannot have, and for keys that are not known or not supported, all at once.
    static func read(_ path: String, home: String?, files: any Files, notes: inout [String]) throws -> SaidKeys {
        var reading = Reading(said: SaidKeys(home: home))
        let text = try text(of: path, files)
        try refuseAliases(in: text, path)
        try refuseManyAliases(in: text, path)
        guard let node = try compose(text, path) else { return reading.said }
        guard case .mapping(let mapping) = node else {
            if node.scalar?.string.isEmpty == true { return reading.said }
            throw LorikeetError.input("not a list of keys", at: path, fix: "write 'key: value' lines")
        }
        for (key, value) in mapping {
            let name = key.string ?? ""
            if name == "lora" {
                switch value {
                case .mapping(let inner):
                    for (key, value) in inner { try read("lora." + (key.string ?? ""), value, key, path, &reading) }
                case .scalar(let scalar) where isNothing(scalar): break
                default: throw LorikeetError.input("'lora' has to be a list of keys", at: place(path, key), fix: "write 'r: 8' and others below it, indented")
                }
            } else {
                try read(name, value, key, path, &reading)
            }
        }
        if reading.rejected.count == 1 { throw reading.rejected[0].error }
        guard reading.rejected.isEmpty else {
            throw LorikeetError.input(
                "\(reading.rejected.count) keys cannot be used: \(reading.rejected.map(\.shown).joined(separator: ", "))", at: path,
                fix: "remove or rename them; 'lorikeet init' writes a recipe with the keys that there are")
        }
        notes += reading.notes
        return reading.said
    }

    private static func place(_ path: String, _ node: Node) -> String { path + (node.mark.map { ":\($0.line)" } ?? "") }

    private static func isNothing(_ scalar: Node.Scalar) -> Bool {
        (scalar.style == .plain || scalar.style == .any) && SaidKeys.nothing.contains(scalar.string.lowercased())
    }

    // MARK: - Text

    private static func text(of path: String, _ files: any Files) throws -> String {
        guard try files.byteCount(of: path) <= largest else {
            throw LorikeetError.input("too large for a recipe (at most 1 MiB)", at: path, fix: "name a run.yaml")
        }
        var bytes = try files.read(path)[...]
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            throw LorikeetError.input("the file is UTF-16", at: path, fix: "save it as UTF-8")
        }
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = bytes.dropFirst(3) }
        if let zero = bytes.firstIndex(of: 0) {
            throw LorikeetError.input("the file holds a zero byte, so it is not text", at: "\(path) at byte \(zero)", fix: "name a run.yaml")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw LorikeetError.input("the file is not UTF-8", at: path, fix: "save it as UTF-8")
        }
        return text
    }

    /// Refuses anchors and aliases: a few lines of them can stand for any number of values, and recipes need none.
    private static func refuseAliases(in text: String, _ path: String) throws {
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var quote: UInt8?
            var previous: UInt8 = 0x20
            var beginsValue = true
            for byte in line.utf8 {
                if let open = quote {
                    if byte == open { quote = nil }
                } else if byte == UInt8(ascii: "#"), previous == 0x20 {
                    break
                } else if beginsValue, byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                    quote = byte
                } else if beginsValue, byte == UInt8(ascii: "&") || byte == UInt8(ascii: "*") {
                    throw LorikeetError.input(
                        "YAML's anchors and aliases (&name, *name) are not read", at: "\(path):\(number + 1)",
                        fix: "write the value out; a text that begins with & or * stands in quotes")
                }
                if byte != 0x20 { beginsValue = ":-?,[{".utf8.contains(byte) && (previous == 0x20 || byte != UInt8(ascii: "-")) }
                previous = byte
            }
        }
    }

    /// Refuses what could be a list that grows with every alias, before YAML's reader compares keys made of such lists. `refuseAliases` reads line by
    /// line, and text in quotes goes on over lines: so this counts wherever a name could begin, in quotes too. 16 aliases make a file some 400 times
    /// as large at most.
    private static func refuseManyAliases(in text: String, _ path: String) throws {
        var (anchors, aliases) = (0, 0)
        var (previous, mark): (UInt8, UInt8?) = (0x0A, nil)
        for byte in text.utf8 {
            let isName = 0x30...0x39 ~= byte || 0x41...0x5A ~= byte || 0x61...0x7A ~= byte || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
            if isName, mark == UInt8(ascii: "&") { anchors += 1 }
            if isName, mark == UInt8(ascii: "*") { aliases += 1 }
            let mayBegin = previous <= 0x20 || previous >= 0x80 || "[{,:?-".utf8.contains(previous)
            mark = mayBegin && (byte == UInt8(ascii: "&") || byte == UInt8(ascii: "*")) ? byte : nil
            previous = byte
        }
        guard anchors > 0, aliases > 16 else { return }
        throw LorikeetError.input(
            "\(aliases) texts begin with an asterisk and \(anchors) with an ampersand, as YAML's aliases do (*name, &name), which are not read", at: path,
            fix: "write values out")
    }

    private static func compose(_ text: String, _ path: String) throws -> Node? {
        do { return try Yams.compose(yaml: text) } catch {
            guard let error = error as? YamlError else { throw LorikeetError.input("not readable as YAML", at: path, fix: "write 'key: value' lines") }
            throw explained(error, text, path)
        }
    }

    private static func explained(_ error: YamlError, _ text: String, _ path: String) -> LorikeetError {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        func indentation(_ line: Substring) -> Substring { line.prefix { $0 == " " || $0 == "\t" } }
        switch error {
        case .duplicatedKeysInMapping(let names, _):
            let name = names.first ?? ""
            let atBeginning = lines.indices.filter { lines[$0].drop { $0 == " " }.hasPrefix(name + ":") }
            // Inside braces keys stand anywhere in a line.
            let anywhere = lines.indices.filter { line in ["{", ",", " "].contains { lines[line].contains($0 + name + ":") } }
            let places = (atBeginning.isEmpty ? anywhere : atBeginning).map { $0 + 1 }
            let words = places.prefix(4).map(String.init).joined(separator: " and ") + (places.count > 4 ? " and others" : "")
            return .input(
                "the key '\(name)' stands there twice" + (places.count > 1 ? " (lines \(words))" : ""), at: places.last.map { "\(path):\($0)" } ?? path,
                fix: "remove one of them")
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _), .composer(_, let problem, let mark, _):
            if let tab = (1...max(1, mark.line)).reversed().prefix(2).first(where: { $0 <= lines.count && indentation(lines[$0 - 1]).contains("\t") }) {
                return .input("a tab stands in the line's indentation", at: "\(path):\(tab)", fix: "indent with spaces: YAML allows no tabs there")
            }
            if problem.contains("nesting level") {
                return .input("the YAML is nested too deeply", at: "\(path):\(mark.line)", fix: "a recipe has keys, and those of lora one level below")
            }
            return .input("not readable as YAML: \(problem)", at: "\(path):\(mark.line)", fix: "fix the line; keys are written as 'key: value'")
        case .reader(let problem, _, _, _):
            return .input("not readable as YAML: \(problem)", at: path, fix: "remove control characters; keys are written as 'key: value'")
        default: return .input("not readable as YAML", at: path, fix: "fix the line; keys are written as 'key: value'")
        }
    }

    // MARK: - Keys

    private static func line(_ node: Node) -> String { node.mark.map { "line \($0.line), " } ?? "" }

    private static func read(_ name: String, _ value: Node, _ keyNode: Node, _ path: String, _ reading: inout Reading) throws {
        let place = place(path, keyNode)
        if name == "<<" || name.hasSuffix(".<<") {
            throw LorikeetError.input("YAML's merge keys (<<) are not read", at: place, fix: "write the keys out")
        }
        if name == "datasets" { return try readDatasets(value, keyNode, path, &reading) }
        if let key = KeyTable.key(named: name) {
            switch value {
            case .scalar(let scalar) where isNothing(scalar): return try reading.said.set(key, .none, name: name, at: place)
            case .sequence(let sequence) where [.list, .paths].contains(key.type):
                return try reading.said.set(key, key.list(texts(sequence), home: reading.said.homeFolder, at: place), name: name, at: place)
            case .mapping(let mapping) where key.type == .pairs:
                let pairs = mapping.map { "\($0.key.string ?? "")=\($0.value.string ?? "")" }
                return try reading.said.set(key, key.pairs(pairs, at: place), name: name, at: place)
            case .sequence(let sequence) where key.type == .pairs:
                return try reading.said.set(key, key.pairs(texts(sequence), at: place), name: name, at: place)
            case .scalar(let scalar): try refuseOctal(scalar, key, name, at: place)
            default:
                throw LorikeetError.input(
                    "'\(name)' is given \(value.sequence == nil ? "a table of keys" : "a list") and takes one value: \(key.type.name)", at: place,
                    fix: "write '\(name): VALUE'")
            }
        }
        let text: String
        switch value {
        case .scalar(let scalar) where isNothing(scalar) && OtherTools.knows(name): return
        case .scalar(let scalar): text = scalar.string
        case .sequence(let sequence) where sequence.isEmpty: text = ""
        case .sequence(let sequence):
            let joined = texts(sequence).joined(separator: ",")
            text = OtherTools.takesList(name) ? joined : "[\(joined)]"
        case .mapping(let mapping): text = mapping.isEmpty ? "" : "{…}"
        default: text = "{…}"
        }
        switch try reading.said.add(name, text: text, shown: name, at: place, notes: &reading.notes) {
        case .known: break
        case .unsupported(let error): reading.rejected.append(Rejected(error: error, shown: "'\(name)' (\(line(keyNode))not supported)"))
        case .unknown:
            let meant = meantName(by: name, among: KeyTable.keys.map(\.name)).map { "did you mean '\($0)'?" }
            let error = LorikeetError.input("unknown key '\(name)'", at: place, fix: meant ?? "'lorikeet init' writes a recipe with the keys that there are")
            reading.rejected.append(Rejected(error: error, shown: "'\(name)' (\(line(keyNode))unknown\(meant.map { ": " + $0 } ?? ""))"))
        }
    }

    /// A whole number with a leading zero is 8 times something in YAML 1.1, which other tools read, and a decimal number in YAML 1.2.
    private static func refuseOctal(_ scalar: Node.Scalar, _ key: Key, _ name: String, at place: String) throws {
        guard case .integer = key.type, scalar.style == .plain || scalar.style == .any else { return }
        let digits = scalar.string.utf8.drop { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "+") }
        guard digits.count > 1, digits.first == UInt8(ascii: "0"), digits.allSatisfy({ 0x30...0x39 ~= $0 }) else { return }
        throw LorikeetError.input(
            "'\(name)' is written '\(scalar.string)': with a leading zero YAML's versions read different numbers", at: place, fix: "leave the zero out")
    }

    private static func texts(_ sequence: Node.Sequence) -> [String] { sequence.map { $0.string ?? "" } }

    /// axolotl's `datasets:` list: the paths of its entries as `data`, their one type as `format`.
    private static func readDatasets(_ value: Node, _ keyNode: Node, _ path: String, _ reading: inout Reading) throws {
        let place = place(path, keyNode)
        guard let entries = value.sequence, !entries.isEmpty else {
            throw LorikeetError.input("'datasets' has to be a list of entries with a path", at: place, fix: "write 'data: FILE'")
        }
        var paths: [String] = []
        var formats = Set<String>()
        for entry in entries {
            guard let mapping = entry.mapping, let file = mapping["path"]?.string else {
                throw LorikeetError.input("an entry of 'datasets' has no path", at: place, fix: "write 'data: FILE'")
            }
            // `ds_type` says what a file's name says too.
            for (key, _) in mapping where !["path", "type", "ds_type"].contains(key.string ?? "") {
                let name = "'\(key.string ?? "")' of an entry of 'datasets'"
                let error = LorikeetError.input(
                    "\(name) is not read", at: Self.place(path, key), fix: "write 'data: FILE', and 'format' and 'columns' where they are needed")
                reading.rejected.append(Rejected(error: error, shown: "\(name) (\(line(key))not read)"))
            }
            paths.append(file)
            guard let type = mapping["type"] else { continue }
            guard let format = type.string.flatMap({ OtherTools.formats[$0] }) else {
                throw LorikeetError.input(
                    "the type '\(type.string ?? "{…}")' of an entry of 'datasets' is not known", at: place,
                    fix: "write 'data: FILE' and 'format: NAME', one of \(KeyTable.formats.joined(separator: ", "))")
            }
            formats.insert(format)
        }
        guard formats.count < 2 else {
            throw LorikeetError.input(
                "the entries of 'datasets' have several types", at: place, fix: "bring the records to one layout and write 'data: [FILE, FILE]'")
        }
        for (name, value) in [("data", KeyValue.list(paths))] + formats.map({ ("format", KeyValue.text($0)) }) {
            guard let key = KeyTable.key(named: name) else { continue }
            try reading.said.set(key, name == "data" ? key.list(paths, home: reading.said.homeFolder, at: place) : value, name: "datasets", at: place)
            reading.notes.append("\(place): 'datasets' is read as '\(name): \(value.yaml)'")
        }
    }
}
