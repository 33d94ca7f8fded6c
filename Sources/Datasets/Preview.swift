import LorikeetTokenizers

/// A sample as a person reads it: token by token, with those that are learnt marked.
package struct SamplePreview: Sendable, Equatable {
    package struct Token: Sendable, Equatable {
        package let id: Int32
        /// The token's own text; a part of a character shows as U+FFFD.
        package let text: String
        package let trained: Bool
    }

    package let record: Int
    package let tokens: [Token]

    /// Tokens divided by `|`, learnt ones in `[…]`, a newline as `⏎` and a line end behind it.
    ///
    ///     <|im_start|>|assistant|⏎
    ///     [animal][<|im_end|>]
    package var text: String {
        var text = ""
        var previousTrained = true
        for token in tokens {
            let shown = token.text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "⏎")
            if token.trained {
                text += "[\(shown)]"
            } else {
                text += (previousTrained || text.hasSuffix("\n") ? "" : "|") + shown
            }
            if token.text.hasSuffix("\n") { text += "\n" }
            previousTrained = token.trained
        }
        return text
    }
}

extension Dataset {
    /// The first training samples, for `check` and the run's own look at its data.
    package func preview(rows: Int, tokenizer: Tokenizer) -> [SamplePreview] {
        train.prefix(max(0, rows)).map { sample in
            SamplePreview(
                record: sample.record,
                tokens: zip(sample.ids, sample.trained).map { id, trained in
                    SamplePreview.Token(id: id, text: tokenizer.decode([id]), trained: trained)
                })
        }
    }
}
