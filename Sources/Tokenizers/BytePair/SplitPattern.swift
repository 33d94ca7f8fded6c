/// How a text is cut into words before its bytes are merged: the patterns in use, each by a hand-made scanner.
package enum SplitPattern: Sendable, Equatable {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    case gpt2
    /// Every `\p{N}` alone (`decimalOnly`: every `\p{Nd}`), then `gpt2` on what lies between (SmolLM, StarCoder, Granite, Command-R).
    case digitsThenGPT2(decimalOnly: Bool)
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    /// with n = 3 for Llama 3, GPT-4, GLM-4, OLMo 2 and 1 for Qwen 2 and 3; `joinsMarks` (Qwen 3.5): marks belong to words as letters do.
    case contractionsAnyCase(numberRun: Int, joinsMarks: Bool = false)
    /// Words that change from lower to upper case are cut: with U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and W = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
    /// `[^\r\n\p{L}\p{N}]?U*W+C?|[^\r\n\p{L}\p{N}]?U+W*C?|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    /// where C is the contractions in any case: with them and n = 3 for GPT-4o, Phi-4, without and n = 1 for Mistral's Tekken.
    case cased(numberRun: Int, contractions: Bool)
    /// DeepSeek V3's three: `\p{N}{1,3}`; `[一-龥぀-ゟ゠-ヿ]+`;
    /// `[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    case deepSeek

    package static let llama3 = SplitPattern.contractionsAnyCase(numberRun: 3)
    package static let qwen2 = SplitPattern.contractionsAnyCase(numberRun: 1)

    /// The pattern that a tokenizer.json's Split writes as a regular expression; nil for one that is not known.
    package static func regex(_ text: String) -> SplitPattern? { regularExpressions[text] }

    private static let regularExpressions: [String: SplitPattern] = {
        var result: [String: SplitPattern] = [:]
        let contractions = ["(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "(?i:'s|'t|'m|'d|'ll|'ve|'re)"]
        let space = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
        for (place, head) in contractions.enumerated() {
            // Without the long s (U+017F), which folding takes for an s; scanners and texts agree but for it.
            if place == 1 { continue }
            for (run, numbers) in [(3, #"\p{N}{1,3}"#), (1, #"\p{N}"#)] {
                result[head + #"|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n]*"# + space] = .contractionsAnyCase(numberRun: run)
                result[head + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|"# + numbers + #"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + space] =
                    .contractionsAnyCase(numberRun: run, joinsMarks: true)
            }
        }
        let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
        let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#
        for tail in ["(?i:'s|'t|'re|'ve|'m|'ll|'d)?", ""] {
            for (run, numbers) in [(3, #"\p{N}{1,3}"#), (1, #"\p{N}"#)] {
                let words = #"[^\r\n\p{L}\p{N}]?\#(upper)*\#(lower)+\#(tail)|[^\r\n\p{L}\p{N}]?\#(upper)+\#(lower)*\#(tail)|"#
                result[words + numbers + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + space] = .cased(numberRun: run, contractions: !tail.isEmpty)
            }
        }
        result[#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#] = .gpt2
        return result
    }()

    /// The three expressions of DeepSeek V3; the third with its newlines as escapes.
    static let deepSeekNumbers = #"\p{N}{1,3}"#
    static let deepSeekIdeographs = "[一-龥\u{3040}-ゟ゠-ヿ]+"
    static let deepSeekWords =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##

    /// Calls `body` with every word of valid UTF-8.
    func forEachWord(in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        guard let base = text.baseAddress, let table = CharacterClass.table else { return }
        let reader = ClassReader(bytes: base, classes: table)
        switch self {
        case .gpt2: Self.forEachWord(reader, text.count, GPT2Scanner(), body)
        case .digitsThenGPT2(let decimalOnly): Self.forEachWord(reader, text.count, DigitsScanner(decimalOnly: decimalOnly), body)
        case .contractionsAnyCase(let run, let joins):
            Self.forEachWord(reader, text.count, ContractionsAnyCaseScanner(numberRun: run, joinsMarks: joins), body)
        case .cased(let run, let contractions): Self.forEachWord(reader, text.count, CasedScanner(numberRun: run, contractions: contractions), body)
        case .deepSeek: Self.forEachWord(reader, text.count, DeepSeekScanner(), body)
        }
    }

    private static func forEachWord<Scanner: WordScanner>(_ reader: ClassReader, _ end: Int, _ scanner: Scanner, _ body: (Range<Int>) -> Void) {
        var at = 0
        while at < end {
            let stop = scanner.wordEnd(reader, from: at, to: end)
            body(at..<stop)
            at = stop
        }
    }
}
