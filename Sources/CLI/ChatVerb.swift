import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround

struct ChatVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat", abstract: "A conversation, line by line from standard input, whose end ends it.",
        discussion: """
            Example: lorikeet chat --model out/merged
            Commands: \(ChatCommand.list.map(\.usage).joined(separator: ", ")). Ctrl-C stops an answer; at the prompt it ends the program.
            """)
    @OptionGroup var options: GenerationOptions

    func run() throws {
        let (model, adapter) = try options.located()
        let generator = try options.generator(model, adapter)
        let chat = try Chat(generator, system: options.system, maxNewTokens: options.maxNewTokens, sampling: options.choice.options)
        if Self.isInteractive { Screen.out("/help shows the commands; /quit or the end of input (Ctrl-D) ends the conversation.\n") }
        while true {
            if Self.isInteractive { Screen.out("> ") }
            guard let line = readLine() else { return }
            guard !line.allSatisfy(\.isWhitespace) else { continue }
            switch ChatCommand(line) {
            case .message(let text): try answer(text, chat)
            case .quit: return
            case let command: _ = try reported { try perform(command, chat) }
            }
        }
    }

    /// Whether a person types and reads.
    private static var isInteractive: Bool { Screen.isTerminal && isatty(STDIN_FILENO) == 1 }

    private func answer(_ text: String, _ chat: Chat) throws {
        // From here on Ctrl-C sets a mark; a second one ends the program.
        StopSignal.startCatching()
        defer { StopSignal.stopCatching() }
        let answer = try reported { () throws -> Answer in
            let answer = try chat.answer(text) { piece in
                Screen.out(piece)
                return !StopSignal.isCaught
            }
            Screen.out("\n")
            return answer
        }
        switch answer?.ending {
        case .context: Screen.warn(["the model's context is full, so the answer ends here: /reset begins a new conversation"])
        case .length where Self.isInteractive: Screen.note(["the answer ends after \(options.maxNewTokens) tokens; --max-new-tokens allows more"])
        default: break
        }
    }

    private func perform(_ command: ChatCommand, _ chat: Chat) throws {
        switch command {
        case .message, .quit: return
        case .help: for entry in ChatCommand.list { Screen.out("\(entry.usage)  \(entry.help)\n") }
        case .reset:
            chat.reset()
            Screen.out("The conversation begins anew.\n")
        case .system(let text):
            try chat.setSystem(text)
            Screen.out(text == nil ? "No system message; the conversation begins anew.\n" : "The system message is set; the conversation begins anew.\n")
        case .adapter(let on):
            guard chat.hasAdapter else { throw LorikeetError.input("there is no adapter to switch", fix: "name one with --adapter") }
            if let on { chat.adapterIsOn = on }
            Screen.out("The adapter is \(chat.adapterIsOn ? "on" : "off").\n")
        case .unknown(let words, let fix): throw LorikeetError.input(words, fix: fix)
        }
    }

    /// Reports what cannot be done to a person, and goes on. In a pipe it ends the program, so that whoever feeds it notices.
    private func reported<Result>(_ body: () throws -> Result) throws -> Result? {
        do {
            return try body()
        } catch let error as LorikeetError where error.exit == .unusableInput && Self.isInteractive {
            Screen.error(error.description)
            return nil
        }
    }
}

/// A line of `chat`.
enum ChatCommand: Equatable {
    /// Text for the model. A message that begins with a slash is typed with two.
    case message(String)
    case help, reset, quit
    /// `/system`: the new system message; nil removes the present one.
    case system(String?)
    /// `/adapter`: whether the adapter shall be on; nil only shows whether it is.
    case adapter(Bool?)
    /// What is wrong with the line, and what to do.
    case unknown(String, fix: String)

    static let list = [
        (usage: "/system TEXT", help: "sets the system message (none without TEXT) and begins a new conversation"),
        (usage: "/reset", help: "begins a new conversation with the same system message"),
        (usage: "/adapter on|off", help: "switches the adapter; the conversation goes on"),
        (usage: "/help", help: "shows this"),
        (usage: "/quit", help: "ends the program"),
    ]

    init(_ line: String) {
        guard line.hasPrefix("/"), !line.hasPrefix("//") else {
            self = .message(line.hasPrefix("//") ? String(line.dropFirst()) : line)
            return
        }
        let words = line.split(whereSeparator: \.isWhitespace)
        let name = words.first.map(String.init) ?? line
        let rest = line.dropFirst(name.count).drop { $0.isWhitespace }
        switch name {
        case "/help": self = .help
        case "/reset": self = .reset
        case "/quit", "/exit": self = .quit
        case "/system": self = .system(rest.isEmpty ? nil : String(rest))
        case "/adapter":
            switch words.dropFirst().joined(separator: " ") {
            case "on": self = .adapter(true)
            case "off": self = .adapter(false)
            case "": self = .adapter(nil)
            case let other: self = .unknown("/adapter takes on or off, not '\(other)'", fix: "write /adapter on or /adapter off")
            }
        default:
            let names = Self.list.map { String($0.usage.prefix { $0 != " " }) }
            let near = nearestName(to: name, among: names).map { "did you mean \($0)?" } ?? "/help shows the commands"
            self = .unknown("there is no command \(name)", fix: near + "; a message that begins with / is written with //")
        }
    }
}
