import LorikeetDatasets
import LorikeetEngine
import LorikeetTokenizers

/// A form of the model (base, base + adapter, merged) on held-out rows.
package struct FormResult: Sendable {
    /// Mean -log p of the trained tokens of all validation rows; nil without any.
    package var loss: Double?
    /// Share of rows answered exactly (greedy, white space trimmed); nil without any.
    package var answersRight: Double?
    /// The answers, in the rows' order.
    package var answers: [String]

    package init(loss: Double?, answersRight: Double?, answers: [String]) {
        self.loss = loss
        self.answersRight = answersRight
        self.answers = answers
    }
}

/// Asks a model for answers and compares them with what was expected.
package struct AnswerTest {
    package let rows: [HeldOutRow]
    package let tokenizer: Tokenizer
    package let slots: Int

    package init(rows: [HeldOutRow], tokenizer: Tokenizer, slots: Int) {
        self.rows = rows
        self.tokenizer = tokenizer
        self.slots = slots
    }

    /// New tokens that are enough for every expected answer: the longest one's and a half, at least 16, at most 256.
    package var maxNewTokens: Int {
        let longest = rows.map { tokenizer.encode($0.answer).count }.max() ?? 0
        return min(256, max(16, longest + longest / 2))
    }

    package func answers(of session: Session) throws -> [String] {
        let limit = maxNewTokens
        let ends = Set(tokenizer.endTokens)
        return try session.generate(prompts: rows.map(\.promptIDs), maxNewTokens: limit, endTokens: ends, slots: slots).map {
            trimmed(tokenizer.decode($0.filter { !ends.contains($0) }, skipSpecial: true))
        }
    }

    package func shareRight(_ answers: [String]) -> Double? {
        guard !rows.isEmpty else { return nil }
        return Double(zip(rows, answers).count { trimmed($0.answer) == $1 }) / Double(rows.count)
    }

    private func trimmed(_ text: String) -> String {
        var text = Substring(text)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}

/// How far two forms' logits are apart.
package struct LogitDifference: Sendable, Equatable {
    package var maximum: Double
    package var mean: Double
    /// The largest absolute logit met: what the differences are measured against.
    package var largestLogit: Double
    /// Share of rows on which both choose the same token.
    package var sameChoice: Double
}

/// Compares the logits of two sessions over the last tokens of the samples (those that answer).
package func compareLogits(_ a: Session, _ b: Session, samples: [TokenSample]) throws -> LogitDifference {
    var result = LogitDifference(maximum: 0, mean: 0, largestLogit: 0, sameChoice: 0)
    var (sum, count, same, rows) = (0.0, 0, 0, 0)
    let vocabulary = a.model.family.vocabularySize
    for sample in samples {
        let batch = TokenBatch(sequence: sample.ids)
        let wanted = sample.trained.indices.filter { sample.trained[$0] && $0 > 0 }.map { $0 - 1 }
        guard !wanted.isEmpty else { continue }
        let (x, y) = (try a.logits(batch, rows: wanted), try b.logits(batch, rows: wanted))
        for row in wanted.indices {
            let range = row * vocabulary..<(row + 1) * vocabulary
            var (bestX, bestY) = (range.lowerBound, range.lowerBound)
            for i in range {
                let difference = Double(abs(x[i] - y[i]))
                result.maximum = max(result.maximum, difference)
                result.largestLogit = max(result.largestLogit, Double(abs(x[i])))
                sum += difference
                if x[i] > x[bestX] { bestX = i }
                if y[i] > y[bestY] { bestY = i }
            }
            count += vocabulary
            rows += 1
            if bestX == bestY { same += 1 }
        }
    }
    result.mean = count > 0 ? sum / Double(count) : 0
    result.sameChoice = rows > 0 ? Double(same) / Double(rows) : 1
    return result
}

/// How far merged logits may stand from base + adapter, relative to the largest logit.
///
/// Merging rounds each weight once: float32 keeps what the sums of a forward pass keep; float16 has 11 bits and bfloat16 8 bits of
/// mantissa, and the roundings of a row add up like a random walk over the layers.
package func mergeLogitTolerance(_ bits: MergePrecision) -> Double {
    switch bits {
    case .float32: 1e-4
    case .float16: 5e-3
    case .bfloat16: 4e-2
    }
}

package enum MergePrecision: String, Sendable { case float16, bfloat16, float32 }
