import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// A conversation with a model. The keys and values of what was said stay in the cache: an answer begins after reading the new tokens alone.
package final class Chat {
    private let generator: AnsweringModel
    private let rules: AnswerRules
    private let maxNewTokens: Int
    private let sequence: CachedSequence
    private var messages: [(role: String, content: String)] = []
    /// The system message; nil is none, and the template may have one of its own.
    package private(set) var system: String?
    /// Tokens of the last prompt that were not in the cache and had to be read.
    package var tokensRead: Int { sequence.tokensRead }

    /// - Throws: exit 2 for sampling options that are not allowed, exit 4 where memory cannot be allocated.
    package init(_ generator: AnsweringModel, system: String?, maxNewTokens: Int, sampling: SamplingOptions) throws {
        self.generator = generator
        self.system = system
        self.maxNewTokens = maxNewTokens
        rules = try AnswerRules(sampling, generator.tokenizer)
        sequence = CachedSequence(session: try generator.newSession(reading: 512))
    }

    /// Forgets what was said; the system message stays.
    package func reset() { messages = [] }

    /// Begins a new conversation with another system message.
    ///
    /// - Throws: exit 2 where the model's template or tokens do not allow it; the conversation stays as it was.
    package func setSystem(_ text: String?) throws {
        _ = try generator.prompt(asked(text, [("user", "?")]), at: "the system message")
        system = text
        reset()
    }

    /// Whether the model has an adapter on top.
    package var hasAdapter: Bool { generator.model.adapters.elementCount > 0 }

    /// Switches the adapter; the conversation goes on, and is read again by the other model.
    package var adapterIsOn: Bool {
        get { generator.model.adapterEnabled }
        set {
            guard newValue != generator.model.adapterEnabled else { return }
            generator.model.adapterEnabled = newValue
            sequence.forget()
        }
    }

    /// The answer to `text`, which becomes part of the conversation.
    ///
    /// - Parameter onText: called with each piece; returning false stops the answer, and what was said until then is part of the conversation.
    /// - Throws: exit 2 for a message with a token that the model has no row for, one that its template refuses, and where the conversation no
    ///   longer fits into the model's context. The conversation stays as it was then.
    package func answer(_ text: String, onText: (String) -> Bool) throws -> Answer {
        let said = messages + [("user", text)]
        let prompt = try prompt(said)
        let request = GenerationRequest(prompt: prompt, maxNewTokens: min(maxNewTokens, generator.contextLength - prompt.count))
        var answer = generator.text(of: request, maxNewTokens, rules)
        try generator.atModel {
            _ = try sequence.generate(request, rules: rules.sampling, endTokens: rules.allEnds) { token in
                let piece = answer.append(token)
                if !onText(piece), answer.ending == nil {
                    _ = answer.interrupt()
                }
                return answer.ending == nil
            }
        }
        messages = said + [("assistant", answer.answer.text)]
        return answer.answer
    }

    private func prompt(_ said: [(role: String, content: String)]) throws -> [Int32] {
        try generator.prompt(
            asked(system, said), at: "the conversation", ifTooLong: messages.isEmpty ? "shorten the message" : "say /reset to begin a new one")
    }

    private func asked(_ system: String?, _ said: [(role: String, content: String)]) -> AskedRecord {
        let all = (system.map { [("system", $0)] } ?? []) + said
        return .conversation(Conversation(messages: all.map { ["role": .string($0.0), "content": .string($0.1)] }))
    }
}
