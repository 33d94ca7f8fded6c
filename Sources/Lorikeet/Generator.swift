import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers

/// A model, perhaps with an adapter on top, that answers.
///
///     let generator = try Generator(model: "out/merged")
///     let text = try generator.answer(.messages([("user", "What is an otter?")]), maxNewTokens: 64)
public final class Generator {
    private let tokenizer: Tokenizer
    private let template: ChatTemplate?
    private let model: Model
    private let name: String
    /// Rows of the embedding table.
    private let embeddingRows: Int
    /// Warnings about what the model's files hold and the program does not use.
    public let warnings: [String]

    /// What a generator is asked.
    public enum Question {
        /// Continued as it stands.
        case text(String)
        /// Roles and contents, through the model's chat template.
        case messages([(role: String, content: String)])
    }

    /// Names that `baseStorage` takes.
    public static let storages = ["auto", "nf4", "f16", "bf16", "f32"]

    /// Loads a model.
    ///
    /// - Parameters:
    ///   - model: a Hugging Face directory, a `.gguf` file, or a name on a hub (`ORG/NAME`).
    ///   - adapter: a PEFT folder to put on top, or its name on a hub.
    ///   - baseStorage: one of `storages`; auto keeps the file's own form.
    ///   - device: `cpu`, a card (`cuda:0`), or `auto`: the first card where there is one.
    ///   - environment: for names on a hub instead of paths, as in `FineTuning`.
    /// - Throws: an error whose description says what is wrong, where, and the fix.
    public convenience init(
        model: String, adapter: String? = nil, baseStorage: String = "auto", device: String = "auto", environment: [String: String] = [:]
    ) throws {
        guard DeviceRequest.knows(device: device) else {
            throw LorikeetError.input("there is no device '\(device)'", at: "device", fix: "say auto, cpu or cuda:N")
        }
        let locator = InputLocator(variables: environment)
        try self.init(
            model: locator.model(model).path, adapter: adapter.map { try locator.model($0).path }, baseStorage: baseStorage,
            compute: DeviceRequest(device: device).open())
    }

    package init(model path: String, adapter: String?, baseStorage: String, compute: Compute) throws {
        let source = try ModelSource.open(path)
        tokenizer = try Tokenizer.load(from: source.files)
        warnings = source.warnings + tokenizer.warnings
        // An adapter in a run's directory goes with the template, and the date in it, that it was trained with. Other models get their own, and
        // today's date, as in transformers.
        let run = adapter.flatMap { OutputDirectory.recipe(ofAdapter: $0) }
        let hasOne = run?.chatTemplate != nil || tokenizer.chatTemplateSource != nil
        template =
            try hasOne
            ? ChatTemplate.choose(run?.chatTemplate, for: tokenizer, model: path, now: run?.templateSeconds ?? SystemClock().now).template : nil
        let file = try adapter.map { try AdapterFile.read(directory: $0) }
        let lora = try file.map { try LoRASettings($0, weights: source.configuration.family.weights()) }
        model = try compute.model(source, storage: BaseStorage(rawValue: baseStorage) ?? .stored, lora: lora)
        if let file { try model.loadAdapter(file) }
        name = path
        embeddingRows = source.configuration.vocabularySize
    }

    /// The greedy answer, up to an end token or `maxNewTokens`.
    ///
    /// - Parameter onText: called with each piece of the answer; returning false stops it.
    /// - Throws: an error for a prompt that cannot be read, for one with a token that the model has no row for, and where the model's
    ///   logits are not finite numbers.
    public func answer(_ question: Question, maxNewTokens: Int, onText: ((String) -> Bool)? = nil) throws -> String {
        let prompt = try promptIDs(question)
        guard !prompt.isEmpty else { throw LorikeetError.input("the prompt is empty", fix: "say something") }
        try tokenizer.requireRows(for: prompt, rows: embeddingRows, at: "the prompt")
        let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: min(512, prompt.count), headChunk: 32))
        let ends = Set(tokenizer.endTokens)
        var decoder = Tokenizer.StreamDecoder(tokenizer, skipSpecial: true)
        var text = ""
        do {
            _ = try session.generate(prompts: [prompt], maxNewTokens: maxNewTokens, endTokens: ends, slots: 1) { _, token in
                if ends.contains(token) { return false }
                let piece = decoder.append(token)
                text += piece
                return piece.isEmpty ? true : onText?(piece) ?? true
            }
        } catch var error as LorikeetError where error.place == nil {
            error.place = name
            throw error
        }
        let rest = decoder.finish()
        if !rest.isEmpty { _ = onText?(rest) }
        return text + rest
    }

    func promptIDs(_ question: Question) throws -> [Int32] {
        switch question {
        case .text(let text): return try (tokenizer.addsBOS ? tokenizer.bos.map { [$0] } ?? [] : []) + tokenizer.encode(text)
        case .messages(let messages):
            guard let template else {
                throw LorikeetError.input("the model has no chat template", at: name, fix: "use --raw, or a model with a template")
            }
            let text = try template.render(messages.map { ChatMessage(role: $0.role, content: $0.content) }, addGenerationPrompt: true)
            return try tokenizer.encode(text)
        }
    }

    /// One answer for machines.
    package static func json(prompt: String, answer: String) -> String {
        (["prompt": .string(prompt), "answer": .string(answer)] as JSON).serialized(pretty: true)
    }
}
