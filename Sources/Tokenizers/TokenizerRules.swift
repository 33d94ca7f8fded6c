/// What a tokenizer does besides its vocabulary and merges.
package struct TokenizerRules: Sendable, Equatable {
    /// How token texts stand for bytes.
    package enum Alphabet: Sendable, Equatable {
        /// GPT-2's: every byte is one printable scalar (`ByteAlphabet`); words by a pattern.
        case byteLevel(SplitPattern)
        /// SentencePiece's: a space is `▁`, bytes without a token are `<0xNN>`; the whole text is one word.
        case sentencePiece
    }

    /// When SentencePiece puts a `▁` before a text.
    package enum Prefix: Sendable, Equatable {
        case never
        /// Before a text that does not begin with an added token.
        case atStart
        /// Before every stretch between added tokens.
        case everywhere
    }

    package var alphabet: Alphabet
    /// Byte-level: a space before a stretch that does not begin with one. SentencePiece: see `Prefix`.
    package var prefix = Prefix.never
    /// A stretch that begins with a space gets no second one (Metaspace; not Llama 2's normaliser).
    package var prefixOnlyIfMissing = true
    /// SentencePiece: every `▁` begins a word of its own, across whose border nothing is merged.
    package var splitsAtSpaces = false
    /// Text is brought to NFC first (Qwen 2).
    package var normalizesNFC = false
    /// A word that is a token is taken whole without looking at merges (Llama 3).
    package var ignoresMerges = false
    /// Runs of unknown symbols become one unknown token.
    package var fusesUnknown = false
    /// Bytes without a token are `<0xNN>` tokens.
    package var fallsBackToBytes = false
    /// Decoding drops one space at the very start (the `▁` that encoding put there).
    package var stripsLeadingSpace = false

    package init(_ alphabet: Alphabet) { self.alphabet = alphabet }
}
