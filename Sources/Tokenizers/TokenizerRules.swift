/// What a byte-pair model does besides its vocabulary and merges.
package struct TokenizerRules: Sendable, Equatable {
    /// How token texts stand for text.
    package enum Alphabet: Sendable, Equatable {
        /// GPT-2's: every byte is one printable scalar (`ByteAlphabet`); words by a pattern.
        case byteLevel(SplitPattern)
        /// Token texts are text as it is.
        case scalars
        /// Token texts write a space as `▁`, which in the text is a space as well.
        case spaces
    }

    package var alphabet: Alphabet
    /// A word that is a token is taken whole without looking at merges (Llama 3).
    package var ignoresMerges = false
    /// Of a pair that is listed twice the last merge counts, as in the library tokenizers; else the first, as in llama.cpp.
    package var lastMergeCounts = false
    /// Runs of unknown symbols become one unknown token.
    package var fusesUnknown = false
    /// Bytes without a token are `<0xNN>` tokens.
    package var fallsBackToBytes = false
    /// Stands before every symbol but a word's first.
    package var continuingPrefix = ""
    /// Stands behind a word's last symbol.
    package var wordSuffix = ""

    package init(_ alphabet: Alphabet) { self.alphabet = alphabet }

    var isByteLevel: Bool { if case .byteLevel = alphabet { true } else { false } }
    var hasAffixes: Bool { !continuingPrefix.isEmpty || !wordSuffix.isEmpty }
}
