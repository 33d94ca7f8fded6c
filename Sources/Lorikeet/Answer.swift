import LorikeetEngine
import LorikeetTokenizers

/// What a model said.
public struct Answer: Sendable, Equatable {
    /// Why an answer ended.
    public enum Ending: String, Sendable {
        /// By one of the model's end tokens.
        case end
        /// Before a stop word.
        case stop
        /// It has as many tokens as were allowed.
        case length
        /// The model's context is full.
        case context
        /// The caller stopped it.
        case interrupted
    }

    /// The answer's text, without special tokens and without the stop word.
    public let text: String
    /// Why it ended.
    public let ending: Ending
    /// Tokens of the prompt.
    public let promptTokens: Int
    /// Tokens of the answer, the end token included.
    public let newTokens: Int
}

/// What all answers of a call have in common.
struct AnswerRules {
    let sampling: SamplingRules
    let stop: [String]
    /// The model's end tokens.
    let endTokens: Set<Int32>
    /// Special tokens that were given as stop words.
    let stopTokens: Set<Int32>

    init(_ options: SamplingOptions, _ tokenizer: Tokenizer) throws {
        sampling = try options.rules()
        endTokens = Set(tokenizer.endTokens)
        // Special tokens are no part of the text.
        func special(_ word: String) -> Int32? { tokenizer.id(of: word).flatMap { tokenizer.isSpecial($0) ? $0 : nil } }
        stopTokens = Set(options.stop.compactMap(special)).subtracting(endTokens)
        stop = options.stop.filter { special($0) == nil }
    }

    /// A sequence ends with the first of these.
    var allEnds: Set<Int32> { endTokens.union(stopTokens) }
}

/// An answer while its tokens come.
struct AnswerText {
    private let rules: AnswerRules
    private let promptTokens: Int
    private let limit: Int
    /// How the answer counts as ended when it has `limit` tokens.
    private let atLimit: Answer.Ending
    private var decoder: Tokenizer.StreamDecoder
    private var stops: StopWords
    private var text = ""
    private var tokens = 0
    private(set) var ending: Answer.Ending?

    /// - Parameters:
    ///   - limit: the most tokens.
    ///   - atLimit: how the answer counts as ended there: `.length` or `.context`.
    init(_ rules: AnswerRules, _ tokenizer: Tokenizer, promptTokens: Int, limit: Int, atLimit: Answer.Ending) {
        self.rules = rules
        self.promptTokens = promptTokens
        self.limit = limit
        self.atLimit = atLimit
        decoder = Tokenizer.StreamDecoder(tokenizer, skipSpecial: true)
        stops = StopWords(rules.stop)
    }

    /// Takes the next token and returns the text that no later token can change; `ending` says whether the answer ended.
    mutating func append(_ token: Int32) -> String {
        tokens += 1
        var piece = ""
        if rules.endTokens.contains(token) {
            ending = .end
        } else if rules.stopTokens.contains(token) {
            ending = .stop
        } else {
            piece = stops.append(decoder.append(token))
            if stops.isFound { ending = .stop } else if tokens >= limit { ending = atLimit }
        }
        text += piece
        return ending == nil ? piece : piece + finish()
    }

    /// Ends an answer that has not ended by itself, and returns the text that was held back.
    mutating func interrupt() -> String {
        guard ending == nil else { return "" }
        ending = .interrupted
        return finish()
    }

    /// The text that was held back.
    private mutating func finish() -> String {
        let rest = stops.append(decoder.finish()) + stops.finish()
        if stops.isFound { ending = .stop }
        text += rest
        return rest
    }

    var answer: Answer { Answer(text: text, ending: ending ?? .interrupted, promptTokens: promptTokens, newTokens: tokens) }
}
