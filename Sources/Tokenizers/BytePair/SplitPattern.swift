/// How a text is cut into words before its bytes are merged: the patterns in use, each by a hand-made scanner.
package enum SplitPattern: Sendable, Equatable {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    case gpt2
    /// Every `\p{N}` alone (`decimalOnly`: every `\p{Nd}`), then `gpt2` on what lies between (SmolLM, StarCoder, Command-R).
    case digitsThenGPT2(decimalOnly: Bool)
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    /// with n = 3 for Llama 3 and 1 for Qwen 2.
    case contractionsAnyCase(numberRun: Int)

    package static let llama3 = SplitPattern.contractionsAnyCase(numberRun: 3)
    package static let qwen2 = SplitPattern.contractionsAnyCase(numberRun: 1)

    /// The pattern that a GGUF's `tokenizer.ggml.pre` names; nil for one that is not known.
    ///
    /// `default` (files older than the key) is read as GPT-2's, as transformers does. The digits of `smollm` and its kin are
    /// the decimal ones: there every reader agrees, while of ½ or Ⅷ after a space transformers (which reads a GGUF without
    /// the rule) and llama.cpp differ; our reference numbers are transformers'. A tokenizer.json's own rule is kept exactly.
    package static func named(_ pre: String) -> SplitPattern? {
        switch pre {
        case "gpt-2", "gpt2", "default", "phi-2", "mpt", "olmo", "jais": .gpt2
        case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b": .digitsThenGPT2(decimalOnly: true)
        case "llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx", "pixtral": .llama3
        case "qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan": .qwen2
        default: nil
        }
    }

    /// The pattern that a tokenizer.json's Split writes as a regular expression; nil for one that is not known.
    package static func regex(_ text: String) -> SplitPattern? {
        let contractions = ["(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"]
        let tail = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        for head in contractions {
            if text == head + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + tail { return .llama3 }
            if text == head + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + tail { return .qwen2 }
        }
        if text == #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"# { return .gpt2 }
        return nil
    }
}
