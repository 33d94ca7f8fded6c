import LorikeetJSON

/// What differs between the kinds of tokenizers in a `tokenizer.json`.
struct TokenizerParts {
    let normalizer: JSON
    let preTokenizer: JSON
    let decoder: JSON
    let merges: [String]
    /// A word that is a token is taken whole without looking at merges.
    var ignoresMerges = false
    var isSentencePiece = false
    var unknown: String?

    /// Byte-level BPE, by llama.cpp's name for what comes before it; nil for names that are not known here.
    static func byteLevel(kind: String, merges: [String]) -> TokenizerParts? {
        guard let form = ByteLevelForm.named(kind) else { return nil }
        return TokenizerParts(
            normalizer: form.composes ? ["type": "NFC"] : .null, preTokenizer: form.preTokenizer,
            decoder: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true], merges: merges,
            ignoresMerges: form.ignoresMerges)
    }

    /// SentencePiece's BPE as transformers writes Llama 2's: a space is `▁`, bytes without a token are `<0xNN>`.
    static func sentencePiece(merges: [String], addsPrefix: Bool, unknown: String?) -> TokenizerParts {
        let replace: JSON = ["type": "Replace", "pattern": ["String": " "], "content": "\u{2581}"]
        let back: JSON = ["type": "Replace", "pattern": ["String": "\u{2581}"], "content": " "]
        let bytes: [JSON] = [back, ["type": "ByteFallback"], ["type": "Fuse"]]
        return TokenizerParts(
            normalizer: ["type": "Sequence", "normalizers": addsPrefix ? [["type": "Prepend", "prepend": "\u{2581}"], replace] : [replace]],
            preTokenizer: .null,
            decoder: [
                "type": "Sequence", "decoders": .array(bytes + (addsPrefix ? [["type": "Strip", "content": " ", "start": 1, "stop": 0]] : [])),
            ], merges: merges, isSentencePiece: true, unknown: unknown)
    }
}

/// How a byte-level tokenizer cuts text into words, by llama.cpp's name for it, as `tokenizers` writes it. The names that belong together are
/// those of the reader (`GGUFPreTokenizer`); the proof `sidecar` and the tests hold the two to each other.
private struct ByteLevelForm {
    /// Expressions that cut the text, one after the other; each match is a word.
    var expressions: [String]
    /// GPT-2's own expression comes last.
    var endsWithGPT2 = false
    /// A word that is a token is taken whole.
    var ignoresMerges = false
    /// Text is brought to NFC first.
    var composes = false

    private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let space = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
    private static let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#

    /// GPT-4's expression and its kin.
    private static func contracted(numbers: String) -> String {
        contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n]*"# + space
    }

    /// GPT-4o's and Tekken's: words that change from lower to upper case are cut.
    private static func cased(tail: String, numbers: String) -> String {
        let words = #"[^\r\n\p{L}\p{N}]?\#(upper)*\#(lower)+\#(tail)|[^\r\n\p{L}\p{N}]?\#(upper)+\#(lower)*\#(tail)|"#
        return words + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + space
    }

    private static let three = #"\p{N}{1,3}"#
    private static let deepSeekWords =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"## + space

    static func named(_ kind: String) -> ByteLevelForm? {
        switch kind {
        case "gpt-2", "gpt2", "default", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4":
            ByteLevelForm(expressions: [], endsWithGPT2: true)
        // Decimal digits alone ("Digits" would also split ½ and Ⅻ).
        case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b": ByteLevelForm(expressions: [#"\d"#], endsWithGPT2: true)
        case "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "smaug-bpe":
            ByteLevelForm(expressions: [contracted(numbers: three)], ignoresMerges: true)
        case "dbrx", "glm4", "chatglm-bpe": ByteLevelForm(expressions: [contracted(numbers: three)])
        case "qwen2", "deepseek-r1-qwen", "kormo", "megrez", "hunyuan", "grok-2", "solar-open", "stablelm2":
            ByteLevelForm(expressions: [contracted(numbers: #"\p{N}"#)], composes: true)
        case "qwen35":
            ByteLevelForm(
                expressions: [contractions + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + space], composes: true)
        case "gpt-4o", "llama4", "kanana2": ByteLevelForm(expressions: [cased(tail: contractions + "?", numbers: three)])
        case "tekken": ByteLevelForm(expressions: [cased(tail: "", numbers: #"\p{N}"#)], ignoresMerges: true)
        case "deepseek-v3", "hunyuan-dense": ByteLevelForm(expressions: [three, "[一-龥\u{3040}-ゟ゠-ヿ]+", deepSeekWords])
        default: nil
        }
    }

    var preTokenizer: JSON {
        let bytes: JSON = ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(endsWithGPT2)]
        guard !expressions.isEmpty else { return bytes }
        let splits = expressions.map { expression -> JSON in
            ["type": "Split", "pattern": ["Regex": .string(expression)], "behavior": "Isolated", "invert": false]
        }
        return ["type": "Sequence", "pretokenizers": .array(splits + [bytes])]
    }
}

/// SentencePiece's scores as the merges that `tokenizers` wants, as transformers' `generate_merges` orders them.
enum SentencePieceMerges {
    /// Longest token whose splits are looked at: real ones have some dozen characters, and the work grows with the square.
    private static let longest = 1024

    /// Every way to make a token of two others, best score first; of equal scores the longer left half first, then the longer right one.
    ///
    /// - Parameter added: ids of tokens that are matched whole.
    static func merges(_ tokens: [String], _ scores: [Float], added: Set<Int>) -> [String] {
        // By bytes: Swift's strings are equal where they are canonically equivalent.
        var ids: [ArraySlice<UInt8>: Int] = [:]
        let bytes = tokens.map { Array($0.utf8)[...] }
        for (id, token) in bytes.enumerated() where !added.contains(id) && ids[token] == nil { ids[token] = id }
        var found: [(left: Int, right: Int, score: Float, lengths: (Int, Int))] = []
        for (id, token) in bytes.enumerated() where !added.contains(id) && token.count <= longest {
            // Cuts stand before the first byte of a character.
            let cuts = token.indices.dropFirst().filter { token[$0] & 0xC0 != 0x80 }
            for (number, cut) in cuts.enumerated() {
                guard let left = ids[token[..<cut]], let right = ids[token[cut...]] else { continue }
                found.append((left, right, scores[id], (number + 1, cuts.count - number)))
            }
        }
        found.sort { a, b in
            if a.score != b.score { return a.score > b.score }
            if a.lengths != b.lengths { return a.lengths > b.lengths }
            return (a.left, a.right) < (b.left, b.right)
        }
        return found.map { tokens[$0.left] + " " + tokens[$0.right] }
    }

    /// A token's text: every `▁` a space.
    static func text(_ token: String) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: token.unicodeScalars.map { $0 == "\u{2581}" ? " " : $0 })
        return String(view)
    }
}
