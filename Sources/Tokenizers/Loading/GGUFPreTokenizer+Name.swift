import LorikeetJSON

extension GGUFPreTokenizer {
    /// llama.cpp's name for what a tokenizer.json does before its merges: the table of this type, searched by content.
    ///
    /// Two things are compared: how words are cut, and whether a word that is a token is taken whole. Unicode normalisation is not compared:
    /// llama.cpp has none. `smollm` and similar names cut off all of `\p{N}` in llama.cpp, so both rules for digits have these names.
    ///
    /// - Returns: nil where llama.cpp has no such pre-tokenizer.
    static func name(of file: TokenizerFile, ignoresMerges: Bool) throws -> String? {
        let wanted = try Way(PipelineReading(file: file), file)
        for row in rows where row.kind.ignoresMerges == ignoresMerges {
            for addsSpace in [false, true] {
                let own = TokenizerFile(json: row.kind.json(addsSpace: addsSpace), source: row.names[0])
                if try Way(PipelineReading(file: own), own) == wanted { return row.names[0] }
            }
        }
        return nil
    }

    private enum Way: Equatable {
        case pattern(SplitPattern)
        /// Digits apart, then GPT-2's words.
        case digits
        /// The steps as the file writes them.
        case steps([JSON])

        init(_ reading: PipelineReading, _ file: TokenizerFile) {
            switch reading.plan {
            case .pattern(.digitsThenGPT2, _): self = .digits
            case .pattern(let pattern, _): self = .pattern(pattern)
            case .spaces, .steps: self = .steps(file.preTokenizerSteps)
            }
        }
    }
}
