/// One record as tokens.
package struct TokenSample: Sendable, Equatable {
    /// The record's row in its file, from 0, blank lines not counted.
    package let record: Int
    package var ids: [Int32]
    /// As many as `ids`: whether the token is predicted with a loss. The first never is: nothing stands before it.
    package var trained: [Bool]
    /// Tokens at the end were cut off at `max_length`.
    package let truncated: Bool

    package init(record: Int, ids: [Int32], trained: [Bool], truncated: Bool = false) {
        self.record = record
        self.ids = ids
        self.trained = trained
        self.truncated = truncated
    }

    /// Tokens with a loss.
    package var trainedCount: Int { trained.reduce(0) { $1 ? $0 + 1 : $0 } }

    package var length: SampleLength { SampleLength(tokens: ids.count, trained: trainedCount) }
}

/// A validation record as a question for the model: what it is shown, and what it should answer.
package struct HeldOutRow: Sendable, Equatable {
    /// The record's row in its file, from 0.
    package let record: Int
    /// The prompt with the beginning of the answer's turn.
    package let promptIDs: [Int32]
    package let promptText: String
    /// The last answer of the record, as the file has it.
    package let answer: String
}
