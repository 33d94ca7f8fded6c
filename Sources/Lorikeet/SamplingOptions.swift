import LorikeetEngine
import LorikeetGround

/// How answers are chosen. The definitions are those of transformers' `GenerationConfig`, applied in its order: repetition penalty, temperature,
/// top-k, top-p, min-p. What the model's own `generation_config.json` suggests is not applied.
///
///     var sampling = SamplingOptions()
///     (sampling.temperature, sampling.topP, sampling.seed) = (0.7, 0.9, 1)
///
/// A random number is a function of the seed, the prompt's tokens, how many equal prompts came before in the same call, and the token's place in the
/// answer: a prompt gets the same random numbers alone and beside others, and a repeated prompt gets others.
public struct SamplingOptions: Sendable, Equatable {
    /// Divides the logits: 0, or 0.001 to 100. 0 is greedy: always the likeliest token.
    public var temperature = 0.0
    /// Only the `topK` likeliest tokens, at least 1 (and those as likely as the last of them), may be chosen; nil is all. Needs a temperature.
    public var topK: Int?
    /// Only the likeliest tokens that together have this probability, 0 to 1, may be chosen; nil is all. Needs a temperature.
    public var topP: Double?
    /// Only tokens with at least this share, 0 to 1, of the likeliest token's probability may be chosen; nil is all. Needs a temperature.
    public var minP: Double?
    /// Divides the positive logits of tokens that the prompt or the answer already holds, and multiplies the negative ones: 0.01
    /// to 100; 1 changes nothing.
    public var repetitionPenalty = 1.0
    /// The seed of the random numbers.
    public var seed = 42
    /// An answer ends before the first of these texts, which is not part of it. One that is a special token of the model's, such as `<|im_end|>`,
    /// ends it there.
    public var stop: [String] = []

    /// Greedy, without stop words.
    public init() {}

    /// The first option whose value is not allowed: its name as a key, and what is wrong with it.
    package var fault: (key: String, words: String)? {
        guard temperature == 0 || (0.001...100).contains(temperature) else {
            return ("temperature", "has to be 0 (always the likeliest token), or between 0.001 and 100")
        }
        if let topK, topK < 1 { return ("top_k", "has to be at least 1; leave it out to keep all tokens") }
        for (key, value) in [("top_p", topP), ("min_p", minP)] {
            if let value, !(0...1).contains(value) { return (key, "has to be between 0 and 1") }
        }
        guard (0.01...100).contains(repetitionPenalty) else {
            return ("repetition_penalty", "has to be between 0.01 and 100; 1 changes nothing")
        }
        if stop.contains("") { return ("stop", "has an empty text") }
        if temperature == 0, let key = [("top_k", topK != nil), ("top_p", topP != nil), ("min_p", minP != nil)].first(where: \.1)?.0 {
            return (key, "has no effect at temperature 0, which always takes the likeliest token: give a temperature too, such as 0.7")
        }
        return nil
    }

    /// - Throws: exit 2 naming the option whose value is not allowed.
    func rules() throws -> SamplingRules {
        if let fault { throw LorikeetError.input("\(fault.key) \(fault.words)") }
        var rules = SamplingRules()
        rules.temperature = temperature
        rules.topK = topK
        rules.topP = topP ?? 1
        rules.minP = minP ?? 0
        rules.repetitionPenalty = repetitionPenalty
        rules.seed = UInt64(bitPattern: Int64(seed))
        return rules
    }
}
