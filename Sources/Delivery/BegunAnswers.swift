import LorikeetDatasets

/// Beginnings of greedy answers, known from the model's choices where records' own answers were evaluated: as far as it chooses the record's tokens, it
/// would have been asked the same.
package struct BegunAnswers {
    private let test: AnswerTest
    private let limit: Int
    private let ends: Set<Int32>
    /// Rows of the test by their record.
    private let rows: [Int: [Int]]
    /// By row of the test: the first tokens of its answer; none where nothing is known.
    package private(set) var tokens: [[Int32]]

    package init(_ test: AnswerTest) {
        self.test = test
        limit = test.maxNewTokens
        ends = Set(test.tokenizer.endTokens)
        rows = Dictionary(grouping: test.rows.indices) { test.rows[$0].record }
        tokens = Array(repeating: [], count: test.rows.count)
    }

    /// - Parameters:
    ///   - sample: an evaluated record.
    ///   - choices: the likeliest token in place of each of its trained tokens.
    package mutating func add(_ sample: TokenSample, choices: [Int32]) {
        for row in rows[sample.record] ?? [] {
            let prompt = test.rows[row].promptIDs
            guard !prompt.isEmpty, sample.ids.starts(with: prompt) else { continue }
            var next = sample.trained[..<prompt.count].dropFirst().count { $0 }
            var known: [Int32] = []
            for (id, isTrained) in zip(sample.ids, sample.trained).dropFirst(prompt.count) {
                guard isTrained, choices.indices.contains(next), known.count < limit else { break }
                known.append(choices[next])
                // Behind another token than the record's the model would be asked something else.
                if choices[next] != id || ends.contains(id) { break }
                next += 1
            }
            tokens[row] = known
        }
    }
}
