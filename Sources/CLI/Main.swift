import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetRecipe
import LorikeetReporting
import Synchronization

/// `lorikeet VERB`: one file a verb; parse, call, print.
@main
struct Main {
    static func main() {
        Screen.openClosed()
        // The engine is compiled for AVX2: say so before any of its code runs.
        do {
            try Machine.requireVectorInstructions()
        } catch {
            Screen.error("\(error)")
            exit(LorikeetError.ExitClass.unusableInput.rawValue)
        }
        // A pipe whose reader has gone (`run | head`) and a file that reaches its limit (`ulimit -f`) are errors of the write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        MappedFile.endProcessOnLostPages(exit: .machineFailed)
        exit(run(Array(CommandLine.arguments.dropFirst())))
    }

    /// The switches of verbs that argument-parser reads; it knows them as `--json` alone.
    static let switches = [
        "bench": ["tune", "decode", "profile", "json"], "doctor": ["kernels", "json"], "generate": ["raw", "json"], "merge": ["json"], "export": ["json"],
        "pull": ["dataset", "json"], "push": ["private", "dry-run", "json"], "report": ["json"],
    ]

    /// `--json=true` as `--json`, `--json=false` as nothing.
    private static func plainSwitches(_ arguments: [String]) throws -> [String] {
        guard let names = arguments.first.flatMap({ switches[$0] }) else { return arguments }
        return try arguments.compactMap { argument in
            guard let name = names.first(where: { argument.hasPrefix("--\($0)=") }) else { return argument }
            let value = String(argument.dropFirst(name.count + 3))
            guard let on = Recipe.switchValue(value) else {
                throw LorikeetError.input("--\(name) has to be true or false, not '\(value)'", fix: "write --\(name) or --\(name)=false")
            }
            return on ? "--" + name : nil
        }
    }

    /// Checks that every argument is UTF-8. Other bytes would be replaced, so that another file were meant, or another text.
    ///
    /// - Throws: exit 2 at the first that is not.
    private static func requireText() throws {
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = CommandLine.unsafeArgv[index], String(validatingCString: argument) == nil else { continue }
            throw LorikeetError.input(
                "argument \(index) is not UTF-8: '\(String(cString: argument))'", fix: "rename the file, or write the text, in UTF-8")
        }
    }

    /// The exit code of the contract: argument-parser's usage error 64 becomes 2.
    private static func run(_ arguments: [String]) -> Int32 {
        do {
            try requireText()
            var arguments = try plainSwitches(arguments)
            try Suggestions.requireVerb(arguments)
            // Verbs that take a recipe have a help of their own, which argument-parser does not know.
            if arguments.count == 2, arguments[0] == "help", !arguments[1].hasPrefix("-") { arguments = [arguments[1], "--help"] }
            var command = try Command.parseAsRoot(arguments)
            try IdleOptions.refuse(arguments)
            try command.run()
            try Screen.requireWritten()
            return 0
        } catch let error as LorikeetError {
            Screen.error(error.description)
            return error.exit.rawValue
        } catch {
            let code = Command.exitCode(for: error)
            let message = Command.fullMessage(for: error)
            if code == .success {
                Screen.out(message.hasSuffix("\n") ? message : message + "\n")
                guard let error = Screen.failure else { return 0 }
                Screen.error(error.description)
                return error.exit.rawValue
            }
            // A value may begin with dashes: then an option lacks its value.
            if !message.contains("Missing value for"), let error = Suggestions.unknownOption(arguments) {
                Screen.error(error.description)
                return error.exit.rawValue
            }
            // The first line says what is wrong; usage follows it.
            Screen.error(message.hasPrefix("Error: ") ? String(message.dropFirst("Error: ".count)) : message)
            return LorikeetError.ExitClass.unusableInput.rawValue
        }
    }
}

struct Command: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lorikeet", abstract: "Fine-tunes language models with QLoRA: plan, train, merge, prove.",
        discussion: "Example: lorikeet run --model model.gguf --data train.jsonl --output out",
        version: lorikeetVersion, subcommands: verbs)

    /// One line a verb.
    static let verbs: [any ParsableCommand.Type] = [
        RunVerb.self, TrainVerb.self, CheckVerb.self, PlanVerb.self, MergeVerb.self, ExportVerb.self, TestVerb.self, GenerateVerb.self, ChatVerb.self,
        PullVerb.self, PushVerb.self, ReportVerb.self, DoctorVerb.self, BenchVerb.self, InitVerb.self, KernelsVerb.self,
    ]
}

/// Standard output and error. Much of what is printed comes from files and models, so unprintable characters become escapes.
enum Screen {
    static func out(_ text: String) { write(text.printable(), to: STDOUT_FILENO) }
    static func error(_ text: String) { write("lorikeet: \(text)\n".withoutSecrets().printable(), to: STDERR_FILENO) }
    /// A line without the prefix `lorikeet:`, for progress and JSON.
    static func errorLine(_ text: String) { write(text.printable(lines: false) + "\n", to: STDERR_FILENO) }
    static func errorWithControls(_ text: String) { write(text, to: STDERR_FILENO) }
    /// For the progress bar, which needs control characters and escapes the texts it shows.
    static func withControls(_ text: String) { write(text, to: STDOUT_FILENO) }
    /// Keys that were accepted and have no effect: one line each, apart from a verb's result.
    static func note(_ notes: [String]) { for note in notes { error("note: \(note)") } }
    /// What does not stop a verb: one line each.
    static func warn(_ warnings: [String]) { for warning in warnings { error("warning: \(warning)") } }
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
    /// A terminal that cannot move its cursor.
    static var isDumb: Bool { variable("TERM") == "dumb" }

    /// Whether standard error is a terminal on which a line can be drawn again in place.
    static var errorIsLive: Bool { isatty(STDERR_FILENO) == 1 && !isDumb }
    /// Shows how far a verb's work is, on standard error.
    static func statusLine() -> StatusLine {
        StatusLine(isLive: errorIsLive, clock: SystemClock(), columns: { columns(STDERR_FILENO) }, write: errorWithControls)
    }

    /// Columns of the terminal; 80 where it does not say.
    static func columns(_ descriptor: Int32 = STDOUT_FILENO) -> Int {
        var size = winsize()
        return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 1 ? Int(size.ws_col) : 80
    }

    /// Whether lines get colours.
    ///
    /// - Parameter wanted: the value of `--color`.
    /// - Throws: exit 2 for another value than auto, always and never.
    static func hasColour(_ wanted: String?) throws -> Bool {
        switch wanted ?? "auto" {
        case "auto": isTerminal && !isDumb && (variable("NO_COLOR") ?? "").isEmpty
        case "always": true
        case "never": false
        case let other: throw LorikeetError.input("--color has to be auto, always or never, not '\(other)'", fix: "leave it out")
        }
    }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// The system's number of the error that the first failed writing to standard output had; 0 as long as all was written.
    private static let outputError = Atomic<Int32>(0)

    /// Whether what is printed on standard output arrives.
    static var isRead: Bool { outputError.load(ordering: .relaxed) == 0 }

    /// That standard output could not be written. A reader that has gone (`| head`) wants no more, and is no failure.
    static var failure: LorikeetError? {
        let number = outputError.load(ordering: .relaxed)
        guard number != 0, number != EPIPE else { return nil }
        return .machine(
            "standard output could not be written, so that what was printed is not whole: \(String(cString: strerror(number)))",
            fix: "free some space, or let standard output go to another place, and run the same command again")
    }

    /// - Throws: exit 4 where a result that was printed has not arrived.
    static func requireWritten() throws { if let failure { throw failure } }

    /// For verbs whose result is on the disk, too: says on standard error that what was printed is not whole.
    static func warnOfLostOutput() {
        guard let failure else { return }
        warn([failure.what])
        outputError.store(0, ordering: .relaxed)
    }

    /// Standard streams that are closed (`>&-`) get descriptors of their own, on which writing fails: otherwise the next file that is opened would have
    /// the stream's number, and text meant for the screen would go into it.
    static func openClosed() {
        for stream in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(stream, F_GETFD) < 0 { _ = open("/dev/null", O_RDONLY) }
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let put = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if put < 0 && errno == EINTR { continue }
            if put <= 0 {
                if descriptor == STDOUT_FILENO { outputError.store(put < 0 ? errno : EIO, ordering: .relaxed) }
                return
            }
            bytes = bytes.dropFirst(put)
        }
    }
}
