import Glibc
import LorikeetGround
import LorikeetRecipe

/// The arguments of verbs that take a recipe: every key of the table is an option, so they are read by the table.
struct RecipeArguments {
    var config: String?
    var options: [(key: String, value: String)] = []
    /// Flags of the verb itself that were given.
    var flags: Set<String> = []
    /// Valued options of the verb itself.
    var extra: [String: String] = [:]

    /// - Parameters:
    ///   - verb: for `--help`.
    ///   - flags: own flags and what they do.
    ///   - valued: own options with a value and what they do.
    /// - Returns: nil when help was asked for and printed.
    static func parse(
        _ arguments: [String], verb: String, abstract: String, example: String, flags: [(String, String)] = [], valued: [(String, String)] = []
    ) throws -> RecipeArguments? {
        var result = RecipeArguments()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--help" || argument == "-h" {
                Screen.out(help(verb, abstract, example, flags, valued))
                return nil
            }
            guard argument.hasPrefix("--"), argument.count > 2 else {
                throw LorikeetError.input("unexpected argument '\(argument)'", fix: "options are written --name value; see lorikeet \(verb) --help")
            }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let name = parts[0]
            if flags.contains(where: { $0.0 == name }) {
                guard let on = parts.count == 2 ? Recipe.switchValue(parts[1]) : true else {
                    throw LorikeetError.input("--\(name) has to be true or false, not '\(parts[1])'", fix: "write --\(name) or --\(name)=false")
                }
                if on { result.flags.insert(name) } else { result.flags.remove(name) }
                continue
            }
            let key = KeyTable.key(option: name)
            let isOwn = name == "config" || valued.contains { $0.0 == name }
            guard key != nil || isOwn || KeyTable.isOtherTools(option: name) else {
                let known = KeyTable.keys.map(\.option) + ["config", "help"] + flags.map(\.0) + valued.map(\.0)
                throw LorikeetError.input(
                    "unknown option --\(name)",
                    fix: meantName(by: name, among: known).map { "did you mean --\($0)?" } ?? "lorikeet \(verb) --help lists the options")
            }
            // A flag may stand alone: --shuffle is --shuffle true.
            if key?.type == .flag, parts.count == 1, rest.first.map({ $0.hasPrefix("--") }) ?? true {
                result.options.append((name, "true"))
                continue
            }
            guard let value = parts.count == 2 ? parts[1] : rest.popFirst() else {
                throw LorikeetError.input("the option --\(name) needs a value", fix: "write --\(name) VALUE")
            }
            guard name == "config" ? result.config == nil : result.extra[name] == nil else {
                throw LorikeetError.input("the option --\(name) is given twice", fix: "give it once")
            }
            if name == "config" { result.config = value } else if isOwn { result.extra[name] = value } else { result.options.append((name, value)) }
        }
        return result
    }

    /// - Parameter preset: one that beats what was said.
    func recipe(preset: String? = nil, files: any Files = RealFiles()) throws -> (recipe: Recipe, notes: [String]) {
        let home = getenv("HOME").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        let said = preset == nil ? options : options.filter { $0.key != "preset" } + [("preset", preset ?? "")]
        return try Recipe.resolve(file: config, options: said, home: home, files: files)
    }

    private static func help(_ verb: String, _ abstract: String, _ example: String, _ flags: [(String, String)], _ valued: [(String, String)]) -> String {
        func row(_ left: String, _ right: String) -> String { "  " + left + String(repeating: " ", count: max(2, 36 - left.count)) + right }
        var lines = ["OVERVIEW: \(abstract)", "", "USAGE: lorikeet \(verb) [options]", "", "Example: \(example)", "", "OPTIONS:"]
        lines.append(row("--config <run.yaml>", "Keys from a file; options beat it."))
        lines += flags.map { row("--\($0.0)", $0.1) } + valued.map { row("--\($0.0) <value>", $0.1) }
        lines.append(row("-h, --help", "Show this."))
        lines += ["", "KEYS (each also in run.yaml). All verbs that read a recipe take all of them, so that a run's options can be given to each:"]
        for key in KeyTable.keys {
            let standard = key.presets["kaggle-free"] ?? key.standard
            // A list has its brackets already.
            let shown = standard.yaml.hasPrefix("[") ? standard.yaml : "[\(standard.yaml)]"
            lines.append(row("--\(key.option)", key.help + (standard == .none ? "" : " " + shown)))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
