import LorikeetGround

/// What the name in a GGUF's `tokenizer.ggml.pre` stands for. The names are those of llama.cpp; the patterns those of the models' own tokenizers.
struct GGUFPreTokenizer {
    var plan: WordPlan
    /// A word that is a token is taken whole.
    var ignoresMerges = false
    /// Text is brought to NFC first.
    var composes = false

    private init(_ pattern: SplitPattern, ignoresMerges: Bool = false, composes: Bool = false) {
        (plan, self.ignoresMerges, self.composes) = (.pattern(pattern, addsSpace: false), ignoresMerges, composes)
    }

    private init(_ steps: [PreTokenizer.Step]) {
        plan = .steps(PreTokenizer(steps: steps + [.byteLevel(addsSpace: false, splits: false)]), readsBytes: true)
    }

    private static let tail = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

    /// nil for a name that is not known.
    ///
    /// `default` (files older than the key) is read as GPT-2's, as transformers does. The digits of `smollm` and its kin are
    /// the decimal ones: there every reader agrees, while of ½ or Ⅷ after a space transformers (which reads a GGUF without
    /// the rule) and llama.cpp differ; our reference numbers are transformers'. A tokenizer.json's own rule is kept exactly.
    static func named(_ pre: String, place: String) throws -> GGUFPreTokenizer? {
        func isolated(_ expressions: String...) throws -> GGUFPreTokenizer {
            GGUFPreTokenizer(try expressions.map { .split(.expression(try RegularExpression($0, place: place)), .isolated, isInverted: false) })
        }
        switch pre {
        case "gpt-2", "gpt2", "default", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es",
            "jina-v2-de", "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "modern-bert", "roberta-bpe", "exaone4":
            return GGUFPreTokenizer(.gpt2)
        case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2":
            return GGUFPreTokenizer(.digitsThenGPT2(decimalOnly: true))
        case "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "smaug-bpe":
            return GGUFPreTokenizer(.llama3, ignoresMerges: true)
        case "dbrx", "glm4", "chatglm-bpe": return GGUFPreTokenizer(.llama3)
        case "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "grok-2", "solar-open", "stablelm2":
            return GGUFPreTokenizer(.qwen2, composes: true)
        case "qwen35": return GGUFPreTokenizer(.contractionsAnyCase(numberRun: 1, joinsMarks: true), composes: true)
        case "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2": return GGUFPreTokenizer(.cased(numberRun: 3, contractions: true))
        case "tekken": return GGUFPreTokenizer(.cased(numberRun: 1, contractions: false), ignoresMerges: true)
        case "deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4": return GGUFPreTokenizer(.deepSeek)
        case "falcon":
            return GGUFPreTokenizer([
                .split(.scalars(.punctuation), .contiguous, isInverted: false), .split(.known(.gpt2), .isolated, isInverted: false),
                .split(.expression(try RegularExpression("[0-9][0-9][0-9]", place: place)), .isolated, isInverted: false),
            ])
        case "deepseek-coder": return try isolated(#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-퟿]+", #"\p{N}"#)
        case "bloom", "poro-chat", "gpt3-finnish": return try isolated(#" ?[^(\s|.,!?…。，、।۔،)]+"#)
        case "viking": return try isolated(#" ?[^(\s|.,!?…。，、।۔،)]+"#, #"\p{N}"#)
        case "superbpe": return try isolated(#"\p{N}+"#, #"(?=(\d{3})+(?!\d))"#)
        case "bailingmoe", "bailingmoe2", "llada-moe":
            return try isolated(#"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#)
        case "seed-coder":
            return try isolated(contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"#)
        case "exaone-moe":
            return try isolated(
                contractions
                    + #"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"#)
        case "minicpm5":
            var result = try isolated(#"\p{N}{1,3}"#, contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+"# + tail)
            result.ignoresMerges = true
            return result
        case "tiny_aya", "cohere2moe":
            return GGUFPreTokenizer([
                .split(.expression(try RegularExpression(#"\d{1,3}(?=(?:\d{3})*\b)"#, place: place)), .isolated, isInverted: false),
                .split(.known(.cased(numberRun: 3, contractions: true)), .isolated, isInverted: false),
            ])
        default: return nil
        }
    }
}
