import ArgumentParser
import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetJSON

struct GenerateVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Answers a prompt, or the records of a JSONL file, always with the likeliest token unless a temperature is given.",
        discussion: """
            Example: lorikeet generate --model out/merged --prompt "tusker: any mammal with prominent tusks"
            Example: lorikeet generate --model out/merged --input questions.jsonl --output answers.jsonl --temperature 0.7 --top-p 0.9
            Records have "messages", "prompt" (the user's message) or "text" (continued as it stands). Each is written again with its answer.
            """)
    @OptionGroup var options: GenerationOptions
    @Option(help: "The prompt to answer.") var prompt: String?
    @Option(help: "A JSONL file of records to answer; - is standard input.") var input: String?
    @Option(help: "Where the answered records go [standard output].") var output: String?
    @Option(help: "With --input: answers that are computed at a time.") var batchSize = 16
    @Option(help: "With --input: the key of the answer; its end and its tokens get keys that begin with it.") var answerField = "answer"
    @Flag(help: "Continue the prompt as it stands, without the chat template.") var raw = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard !raw || options.system == nil else { throw ValidationError("--raw continues the prompt alone: leave --system out") }
        guard (prompt == nil) != (input == nil) else { throw ValidationError("give --prompt or --input") }
        guard (1...1024).contains(batchSize) else { throw ValidationError("--batch-size has to be between 1 and 1024") }
        guard !answerField.isEmpty, !["messages", "prompt", "text"].contains(answerField) else {
            throw ValidationError("--answer-field has to be another key than messages, prompt and text")
        }
        guard input == nil else {
            guard !raw else { throw ValidationError("--raw is for --prompt: records that are continued as they stand have 'text'") }
            guard !json else { throw ValidationError("--input gives JSONL anyway: leave --json out") }
            return
        }
        guard output == nil else { throw ValidationError("--output needs --input") }
    }

    func run() throws {
        if let input { return try answerRecords(of: input) }
        let prompt = prompt ?? ""
        let (model, adapter) = try options.located()
        let generator = try options.generator(model, adapter)
        let question: Generator.Question =
            raw ? .text(prompt) : .messages((options.system.map { [("system", $0)] } ?? []) + [("user", prompt)])
        let answer = try generator.answer(to: question, maxNewTokens: options.maxNewTokens, sampling: options.choice.options) { piece in
            if !json { Screen.out(piece) }
            return Screen.isRead
        }
        Screen.out(json ? AnsweringModel.json(prompt: prompt, answer: answer) + "\n" : "\n")
    }

    // MARK: records

    private func answerRecords(of input: String) throws {
        let fields = AnswerFields(answer: answerField)
        let bytes = try input == "-" ? StandardInput.all() : RealFiles().read(input)
        let source = input == "-" ? "standard input" : input
        let records = try AskedRecords(bytes, source: source, system: options.system, fields: fields)
        // A name on a hub stands for the commit that the answers were begun with, also where the hub has a newer one.
        let begun = try output.flatMap { try AnswerFile.begun($0) }
        let (model, adapter) = try options.located(kept: ["model", "adapter"].compactMap { begun?[$0]?.string })
        let file = try output.map { try AnswerFile(path: $0, identity: identity(of: bytes, model, adapter)) }
        let again = file == nil ? "name a file with --output, and the same command goes on after a stop" : "run the same command again to go on"
        StopSignal.startCatching(patience: 10)
        let generator: AnsweringModel
        do { generator = try options.generator(model, adapter) { StopSignal.isCaught } } catch is Interrupted {
            throw LorikeetError(.stoppedEarly, "stopped while the model was loaded", fix: again)
        }
        try file?.open { records.isAnswered($0, by: $1, fields) }
        if let lost = file?.damagedLines, lost > 0 { Screen.warn(["\(lost) lines that were written before are damaged: their records are answered again"]) }
        let done = file?.done ?? 0
        if done > 0 { Screen.note(["\(done) of \(records.entries.count) records were answered before"]) }
        var progress = AnswerProgress(done: done, of: records.entries.count)
        let answered = try generator.answer(
            records, done: done, maxNewTokens: options.maxNewTokens, sampling: options.choice.options, atATime: batchSize, fields: fields
        ) { line, tokens in
            if let file { try file.append(line) } else { Screen.out(line + "\n") }
            progress.add(tokens: tokens)
            return !StopSignal.isCaught && (file != nil || Screen.isRead)
        }
        progress.end()
        try Screen.requireWritten()
        guard answered == records.entries.count else {
            throw LorikeetError(.stoppedEarly, "stopped after \(answered) of \(records.entries.count) records", fix: again)
        }
        try file?.finish()
        if let output { Screen.note(["\(records.entries.count) answered records are in \(output)"]) }
    }

    /// What decides the answers: only the same command may go on in its partial file.
    private func identity(of input: [UInt8], _ model: String, _ adapter: String?) throws -> JSONObject {
        let choice = options.choice
        func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
        return [
            "input": .string("\(ContentHash(of: input))"), "model": try FileStamps.of(model),
            "adapter": try adapter.map { try FileStamps.of($0) } ?? .null, "system": options.system.map { .string($0) } ?? .null,
            "max_new_tokens": JSON(options.maxNewTokens), "base_storage": .string(options.baseStorage), "device": .string(options.device),
            "compute_type": .string(options.work.computeType), "temperature": .number(choice.temperature), "top_k": choice.topK.map { JSON($0) } ?? .null,
            "top_p": optional(choice.topP), "min_p": optional(choice.minP), "repetition_penalty": .number(choice.repetitionPenalty),
            "seed": JSON(choice.seed), "stop": JSON(choice.stop), "answer_field": .string(answerField), "version": .string(Command.configuration.version),
        ]
    }
}

/// Shows on standard error how many records are answered.
private struct AnswerProgress {
    private let total: Int
    private let first: Int
    private var done: Int
    private var tokens = 0
    private let start = SystemClock().uptime
    private let line = Screen.statusLine()

    init(done: Int, of total: Int) { (self.done, first, self.total) = (done, done, total) }

    mutating func add(tokens: Int) {
        done += 1
        self.tokens += tokens
        let seconds = max(SystemClock().uptime - start, 1e-3)
        let left = seconds / Double(done - first) * Double(total - done)
        line.show("\(done) of \(total) answered, \(Int(Double(self.tokens) / seconds)) tokens/s, \(Units.formatSeconds(left)) left")
    }

    func end() { line.end() }
}

/// Standard input, whole.
enum StandardInput {
    static func all() throws -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let got = piece.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw LorikeetError.machine("standard input cannot be read: \(String(cString: strerror(errno)))") }
            if got == 0 { return bytes }
            bytes += piece[..<got]
        }
    }
}
