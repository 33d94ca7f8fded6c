import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers

/// A model, perhaps with an adapter on top, that answers. One thread at a time may use it; `Generator` is the same for all.
package final class AnsweringModel {
    let tokenizer: Tokenizer
    private let template: ChatTemplate?
    let model: Model
    /// The model's path.
    let name: String
    /// Rows of the embedding table.
    private let embeddingRows: Int
    /// The most tokens of a prompt with its answer: the model's `max_position_embeddings`.
    package let contextLength: Int
    /// The last session: the next answer may use it.
    private var kept: Session?
    /// Warnings about what the model's files hold and the program does not use.
    package let warnings: [String]

    /// - Throws: exit 2 where model or adapter cannot be used; exit 4 when memory, disk or card fail; `Interrupted` where `compute.cpu.interruption` says so,
    ///   which is asked while the weights are loaded and between two operations of the model.
    package init(model path: String, adapter: String?, baseStorage: String, compute: Compute) throws {
        let source = try ModelSource.open(path)
        tokenizer = try Tokenizer.load(from: source.files)
        // An adapter goes with the template that it was trained with, in a run's directory with the run's date too. Other models get their own, and
        // today's date, as in transformers.
        let (now, trained) = (SystemClock().now, try adapter.map { try AdapterTemplate(of: $0) })
        warnings = source.warnings + tokenizer.warnings + [trained?.warning(for: tokenizer)].compactMap { $0 }
        if let trained {
            template = try trained.choice(for: tokenizer, model: path, now: now).template
        } else {
            template = try tokenizer.chatTemplateSource == nil ? nil : ChatTemplate.choose(nil, for: tokenizer, model: path, now: now).template
        }
        let file = try adapter.map { try AdapterFile.read(directory: $0) }
        let lora = try file.map { try LoRASettings($0, weights: source.configuration.weights) }
        model = try compute.model(source, storage: BaseStorage(rawValue: baseStorage) ?? .stored, lora: lora)
        if let file { try model.loadAdapter(file) }
        name = path
        embeddingRows = source.configuration.vocabularySize
        contextLength = source.configuration.values["max_position_embeddings"]?.int ?? .max
    }

    // MARK: prompts

    /// A question's tokens.
    ///
    /// - Parameters:
    ///   - place: where it stands, for errors.
    ///   - fix: what to do where it is too long.
    /// - Throws: exit 2 for a question that the template refuses, an empty one, one with a token that the model has no row for, and one that
    ///   leaves no room for an answer in the model's context.
    package func prompt(_ asked: AskedRecord, at place: String = "the prompt", ifTooLong fix: String = "shorten it") throws -> [Int32] {
        let ids = try promptIDs(asked)
        guard !ids.isEmpty else { throw LorikeetError.input("the prompt is empty", at: place, fix: "give a prompt") }
        try tokenizer.requireRows(for: ids, rows: embeddingRows, at: place)
        guard ids.count < contextLength else {
            throw LorikeetError.input(
                "the prompt has \(ids.count) tokens, and the model's context holds \(contextLength) with the answer", at: place, fix: fix)
        }
        return ids
    }

    func promptIDs(_ question: Generator.Question) throws -> [Int32] { try promptIDs(question.asked) }

    private func promptIDs(_ asked: AskedRecord) throws -> [Int32] {
        switch asked {
        case .text(let text): return try (tokenizer.addsBOS ? tokenizer.bos.map { [$0] } ?? [] : []) + tokenizer.encode(text)
        case .conversation(let conversation):
            guard let template else {
                throw LorikeetError.input("the model has no chat template", at: name, fix: "use --raw, or a model with a template")
            }
            return try tokenizer.encode(template.render(conversation, addGenerationPrompt: true))
        }
    }

    /// The session of single answers and lists of them, which reads prompts of up to `tokens` tokens at once; longer ones in pieces of 512.
    func session(reading tokens: Int) throws -> Session {
        let rows = min(512, max(1, tokens))
        if let kept, kept.sizes.evaluation >= rows { return kept }
        kept = nil
        let session = try newSession(reading: rows)
        kept = session
        return session
    }

    /// A session of its own, for a conversation that keeps its cache.
    func newSession(reading rows: Int) throws -> Session {
        let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: rows, headChunk: 32))
        session.interruption = model.cpu.interruption
        return session
    }
}

extension Generator.Question {
    /// As records ask it.
    var asked: AskedRecord {
        switch self {
        case .text(let text): .text(text)
        case .messages(let messages):
            .conversation(Conversation(messages: messages.map { ["role": .string($0.role), "content": .string($0.content)] }))
        }
    }
}
