import LorikeetGround
import LorikeetJSON

/// What the name in a GGUF's `tokenizer.ggml.pre` stands for, as the parts of a tokenizer.json: read by `Tokenizer(gguf:)`, and written beside a
/// model that was merged from a GGUF. The names are those of llama.cpp; the steps those of the models' own tokenizers.
package struct GGUFPreTokenizer {
    /// What cuts the text before ByteLevel, each as a tokenizer.json writes it.
    private let splits: [JSON]
    /// GPT-2's own expression, which ByteLevel has built in, comes last.
    private let endsWithGPT2: Bool
    /// A word that is a token is taken whole.
    package private(set) var ignoresMerges = false
    /// Text is brought to NFC first.
    private var composes = false

    /// `normalizer` of the tokenizer.json.
    package var normalizer: JSON { composes ? ["type": "NFC"] : .null }

    /// `pre_tokenizer` of the tokenizer.json.
    ///
    /// - Parameter addsSpace: a space is put before a text that begins with none. As in transformers it counts where ByteLevel is the only step.
    package func preTokenizer(addsSpace: Bool) -> JSON {
        let bytes: JSON = [
            "type": "ByteLevel", "add_prefix_space": .bool(addsSpace && splits.isEmpty), "trim_offsets": true, "use_regex": .bool(endsWithGPT2),
        ]
        return splits.isEmpty ? bytes : ["type": "Sequence", "pretokenizers": .array(splits + [bytes])]
    }

    /// The same read, with the hand-made scanners for patterns that are known.
    func reading(addsSpace: Bool, place: String) throws -> PipelineReading {
        try PipelineReading(file: TokenizerFile(json: json(addsSpace: addsSpace), source: place))
    }

    /// The parts as a tokenizer.json has them.
    func json(addsSpace: Bool) -> JSON { ["model": ["type": "BPE"], "normalizer": normalizer, "pre_tokenizer": preTokenizer(addsSpace: addsSpace)] }

    // MARK: - Expressions

    private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let space = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
    private static let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#
    private static let three = #"\p{N}{1,3}"#

    /// GPT-4's expression and its kin.
    private static func contracted(numbers: String) -> String {
        contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n]*"# + space
    }

    /// GPT-4o's and Tekken's: words that change from lower to upper case are cut.
    private static func cased(tail: String, numbers: String) -> String {
        let words = #"[^\r\n\p{L}\p{N}]?\#(upper)*\#(lower)+\#(tail)|[^\r\n\p{L}\p{N}]?\#(upper)+\#(lower)*\#(tail)|"#
        return words + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + space
    }

    private static let gpt4o = cased(tail: contractions + "?", numbers: three)

    private static func split(_ expression: String) -> JSON {
        ["type": "Split", "pattern": ["Regex": .string(expression)], "behavior": "Isolated", "invert": false]
    }

    // MARK: - Names

    private init(_ expressions: String..., endsWithGPT2: Bool = false, ignoresMerges: Bool = false, composes: Bool = false) {
        self.init(steps: expressions.map(Self.split), endsWithGPT2: endsWithGPT2)
        (self.ignoresMerges, self.composes) = (ignoresMerges, composes)
    }

    private init(steps: [JSON], endsWithGPT2: Bool) { (splits, self.endsWithGPT2) = (steps, endsWithGPT2) }

    /// nil for a name that is not known.
    ///
    /// `default` (files older than the key) is read as GPT-2's, as transformers does. The digits of `smollm` and its kin are
    /// the decimal ones: there every reader agrees, while of ½ or Ⅷ after a space transformers (which reads a GGUF without
    /// the rule) and llama.cpp differ; our reference numbers are transformers'. A tokenizer.json's own rule is kept exactly.
    package static func named(_ name: String) -> GGUFPreTokenizer? { table[name] }

    /// Every name that is known.
    package static var names: [String] { table.keys.sorted() }

    private static let table = Dictionary(rows.flatMap { names, kind in names.map { ($0, kind) } }, uniquingKeysWith: { first, _ in first })

    static let rows: [(names: [String], kind: GGUFPreTokenizer)] = [
        (
            [
                "gpt-2", "gpt2", "default", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es",
                "jina-v2-de", "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "modern-bert", "roberta-bpe", "exaone4",
            ], GGUFPreTokenizer(endsWithGPT2: true)
        ),
        (
            ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
            GGUFPreTokenizer(#"\d"#, endsWithGPT2: true)
        ),
        (
            ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "smaug-bpe"],
            GGUFPreTokenizer(contracted(numbers: three), ignoresMerges: true)
        ),
        (["dbrx", "glm4", "chatglm-bpe"], GGUFPreTokenizer(contracted(numbers: three))),
        (
            ["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "grok-2", "solar-open", "stablelm2"],
            GGUFPreTokenizer(contracted(numbers: #"\p{N}"#), composes: true)
        ),
        (
            ["qwen35"],
            GGUFPreTokenizer(contractions + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + space, composes: true)
        ),
        (["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], GGUFPreTokenizer(gpt4o)),
        (["tekken"], GGUFPreTokenizer(cased(tail: "", numbers: #"\p{N}"#), ignoresMerges: true)),
        (
            ["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
            GGUFPreTokenizer(SplitPattern.deepSeekNumbers, SplitPattern.deepSeekIdeographs, SplitPattern.deepSeekWords)
        ),
        (
            ["falcon"],
            GGUFPreTokenizer(
                steps: [
                    ["type": "Punctuation", "behavior": "Contiguous"],
                    ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true],
                    ["type": "Digits", "individual_digits": false], split("[0-9][0-9][0-9]"),
                ], endsWithGPT2: false)
        ),
        (["deepseek-coder"], GGUFPreTokenizer(#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-퟿]+", #"\p{N}"#)),
        (["bloom", "poro-chat", "gpt3-finnish"], GGUFPreTokenizer(#" ?[^(\s|.,!?…。，、।۔،)]+"#)),
        (["viking"], GGUFPreTokenizer(#" ?[^(\s|.,!?…。，、।۔،)]+"#, #"\p{N}"#)),
        (["superbpe"], GGUFPreTokenizer(#"\p{N}+"#, #"(?=(\d{3})+(?!\d))"#)),
        (
            ["bailingmoe", "bailingmoe2", "llada-moe"],
            GGUFPreTokenizer(
                #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#)
        ),
        (
            ["seed-coder"],
            GGUFPreTokenizer(contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"# + space)
        ),
        (
            ["exaone-moe"],
            GGUFPreTokenizer(
                contractions
                    + #"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"#)
        ),
        (["minicpm5"], GGUFPreTokenizer(three, contracted(numbers: #"\p{N}+"#), ignoresMerges: true)),
        (["tiny_aya", "cohere2moe"], GGUFPreTokenizer(#"\d{1,3}(?=(?:\d{3})*\b)"#, gpt4o)),
    ]
}
