import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetJSON

extension AnsweringModel {
    /// One answer, up to an end token, a stop word, or `maxNewTokens`.
    ///
    /// - Parameter onText: called with each piece of the answer; returning false stops it.
    package func answer(
        to question: Generator.Question, maxNewTokens: Int, sampling: SamplingOptions, onText: (String) -> Bool = { _ in true }
    ) throws -> Answer {
        let asked = [AskedPrompt(ids: try prompt(question.asked))]
        return try answers(to: asked, maxNewTokens: maxNewTokens, sampling: sampling) { event in
            if case .text(_, let piece) = event { return onText(piece) }
            return true
        }[0]
    }

    /// Answers to several questions, computed together. Equal questions get different random numbers.
    ///
    /// - Parameter goesOn: asked before each piece of text; false stops all answers.
    package func answers(
        to questions: [Generator.Question], maxNewTokens: Int, sampling: SamplingOptions, atATime: Int, goesOn: () -> Bool
    ) throws -> [Answer] {
        guard !questions.isEmpty else { return [] }
        var counter = RepetitionCounter()
        let prompts = try questions.enumerated().map { counter.next(try prompt($1.asked, at: "question \($0 + 1)")) }
        return try answers(to: prompts, maxNewTokens: maxNewTokens, sampling: sampling, slots: atATime) { _ in goesOn() }
    }

    /// What happens while answers are computed. Returning false from its handler stops the answer (`text`) or all answers (`answer`).
    package enum AnswerEvent {
        /// A piece of the answer to the prompt of this index.
        case text(Int, String)
        case answer(Int, Answer)
    }

    /// Answers to prompts, in their order.
    package func answers(
        to prompts: [AskedPrompt], maxNewTokens: Int, sampling: SamplingOptions, slots: Int = 1, on event: (AnswerEvent) -> Bool
    ) throws -> [Answer] {
        let rules = try AnswerRules(sampling, tokenizer)
        let requests = prompts.map {
            GenerationRequest(prompt: $0.ids, maxNewTokens: min(maxNewTokens, contextLength - $0.ids.count), repetition: $0.repetition)
        }
        var texts = requests.map { text(of: $0, maxNewTokens, rules) }
        var isStopped = false
        let session = try session(reading: slots == 1 ? prompts.map(\.ids.count).max() ?? 1 : prompts.reduce(0) { $0 + $1.ids.count })
        try atModel {
            _ = try session.generate(requests, rules: rules.sampling, endTokens: rules.allEnds, slots: slots) { index, token in
                guard !isStopped else { return false }
                let piece = texts[index].append(token)
                if !piece.isEmpty, !event(.text(index, piece)), texts[index].ending == nil { _ = texts[index].interrupt() }
                guard texts[index].ending != nil else { return true }
                if !event(.answer(index, texts[index].answer)) { isStopped = true }
                return false
            }
        }
        return texts.map(\.answer)
    }

    /// The empty text of an answer to a request.
    func text(of request: GenerationRequest, _ maxNewTokens: Int, _ rules: AnswerRules) -> AnswerText {
        AnswerText(
            rules, tokenizer, promptTokens: request.prompt.count, limit: request.maxNewTokens,
            atLimit: request.maxNewTokens < maxNewTokens ? .context : .length)
    }

    /// Names the model in errors that have no place.
    func atModel<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch var error as LorikeetError where error.place == nil {
            error.place = name
            throw error
        }
    }

    /// One answer for machines.
    package static func json(prompt: String, answer: Answer) -> String {
        let object: JSON = [
            "prompt": .string(prompt), "answer": .string(answer.text), "finish_reason": .string(answer.ending.rawValue),
            "prompt_tokens": JSON(answer.promptTokens), "new_tokens": JSON(answer.newTokens),
        ]
        return object.serialized(pretty: true)
    }
}

/// A prompt's tokens, and how many prompts with the same tokens came before it: each gets random numbers of its own.
package struct AskedPrompt: Sendable {
    package let ids: [Int32]
    package let repetition: Int

    package init(ids: [Int32], repetition: Int = 0) { (self.ids, self.repetition) = (ids, repetition) }
}

/// Counts prompts that are equal.
package struct RepetitionCounter {
    /// By a hash of the tokens.
    private var counts: [UInt64: Int] = [:]

    package init() {}

    package mutating func next(_ ids: [Int32]) -> AskedPrompt {
        var hash = FNV1a()
        for id in ids { hash.add(UInt64(UInt32(bitPattern: id))) }
        let repetition = counts[hash.value, default: 0]
        counts[hash.value] = repetition + 1
        return AskedPrompt(ids: ids, repetition: repetition)
    }
}
