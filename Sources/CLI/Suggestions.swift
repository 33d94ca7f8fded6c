import ArgumentParser
import LorikeetGround

/// Names of verbs and options that do not exist, with the nearest that does.
enum Suggestions {
    private static var verbs: [(name: String, type: any ParsableCommand.Type)] { Command.verbs.map { ($0.configuration.commandName ?? "", $0) } }

    /// - Throws: exit 2 where the first argument, or that of `help`, is no verb: it names the verb that is meant, where one is near, or all of them.
    static func requireVerb(_ arguments: [String]) throws {
        guard let verb = arguments.first == "help" ? arguments.dropFirst().first : arguments.first, !verb.hasPrefix("-") else { return }
        // argument-parser has the verb `help`.
        let names = verbs.map(\.name) + ["help"]
        guard !names.contains(verb) else { return }
        let list = "the verbs are \(verbs.map(\.name).joined(separator: ", "))"
        throw LorikeetError.input("there is no verb '\(verb)'", fix: meantName(by: verb, among: names).map { "did you mean lorikeet \($0)?" } ?? list)
    }

    /// The first option of a command that its verb does not have; nil where it has all of them, or reads its arguments itself.
    ///
    /// argument-parser tells of a missing argument before it tells of an unknown option, although a mistyped name is why the argument is missing.
    static func unknownOption(_ arguments: [String]) -> LorikeetError? {
        let verb = verbs.first { $0.name == arguments.first }
        guard verb != nil || arguments.first?.hasPrefix("-") ?? false else { return nil }
        let known = options(ofHelp: Command.helpMessage(for: verb?.type ?? Command.self, columns: 200))
        for argument in arguments.dropFirst(verb == nil ? 0 : 1) {
            if argument == "--" { return nil }
            // `-model` is a slip too; `-h` and `-3` are not for this table.
            guard argument.hasPrefix("--") || argument.hasPrefix("-") && argument.count > 2 && Double(argument) == nil else { continue }
            let option = String(argument.drop { $0 == "-" }.prefix { $0 != "=" })
            if argument.hasPrefix("--"), known.contains(option) { continue }
            let meant = known.contains(option) ? option : meantName(by: option, among: known)
            let help = "lorikeet \(verb.map { "\($0.name) " } ?? "")--help lists the options"
            return .input("unknown option \(argument.prefix { $0 != "=" })", fix: meant.map { "did you mean --\($0)?" } ?? help)
        }
        return nil
    }

    /// The long options that a help text lists, without their dashes.
    static func options(ofHelp text: String) -> [String] {
        var names: [String] = []
        for line in text.split(separator: "\n") {
            // `  --model <model>  The model …`, `  -h, --help  Show …`, `  --fuse/--no-fuse  …`
            guard let label = line.wholeMatch(of: /\s+(-.*?)(?:\s{2,}.*)?/)?.1 else { continue }
            for option in label.matches(of: /--([A-Za-z0-9][A-Za-z0-9-]*)/) where !names.contains(String(option.1)) { names.append(String(option.1)) }
        }
        return names
    }
}
