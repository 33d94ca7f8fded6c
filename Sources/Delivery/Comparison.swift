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

    /// - Parameter onGroup: called when the first of so many prompts at a time have been read.
    package func answers(of session: Session, onGroup: @escaping () -> Void = {}) throws -> [String] {
        let limit = maxNewTokens
        let ends = Set(tokenizer.endTokens)
        var group = -1
        let answers = try session.generate(prompts: rows.map(\.promptIDs), maxNewTokens: limit, endTokens: ends, slots: slots) { prompt, _ in
            if prompt / max(1, slots) > group {
                group = prompt / max(1, slots)
                onGroup()
            }
            return true
        }
        return answers.map {
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

/// Logits of one form of a model, to be compared with another's when this one is no longer there.
package struct LogitRecord: Sendable {
    fileprivate let samples: [TokenSample]
    /// By sample: [rows, V].
    fileprivate let logits: [[Float]]
    fileprivate let rowsOfSample: Int

    /// - Parameter rowsOfSample: of the tokens that a sample answers, so many, evenly spread.
    package init(of session: Session, samples: [TokenSample], rowsOfSample: Int) throws {
        self.samples = samples
        self.rowsOfSample = rowsOfSample
        logits = try samples.map { try Self.logits(session, $0, rowsOfSample) }
    }

    private static func logits(_ session: Session, _ sample: TokenSample, _ limit: Int) throws -> [Float] {
        let answering = sample.trained.indices.filter { sample.trained[$0] && $0 > 0 }.map { $0 - 1 }
        guard !answering.isEmpty, limit > 0 else { return [] }
        let count = min(limit, answering.count)
        return try session.logits(TokenBatch(sequence: sample.ids), rows: (0..<count).map { answering[$0 * answering.count / count] })
    }

    /// How far `session`'s logits are from these, which are float32 on both sides.
    package func difference(from session: Session) throws -> LogitDifference {
        var result = LogitDifference(maximum: 0, mean: 0, largestLogit: 0, sameChoice: 0)
        var (sum, count, same, rows) = (0.0, 0, 0, 0)
        let vocabulary = session.model.family.vocabularySize
        for (sample, x) in zip(samples, logits) {
            let y = try Self.logits(session, sample, rowsOfSample)
            guard x.count == y.count else { continue }
            for row in 0..<x.count / vocabulary {
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
                rows += 1
                if bestX == bestY { same += 1 }
            }
            count += x.count
        }
        result.mean = count > 0 ? sum / Double(count) : 0
        result.sameChoice = rows > 0 ? Double(same) / Double(rows) : 1
        return result
    }
}

/// How far merged logits may stand from base + adapter, relative to the largest logit.
///
/// Merging rounds each weight once: float32 keeps what the sums of a forward pass keep; float16 has 11 bits and bfloat16 8 bits of
/// mantissa, and the roundings of a row add up like a random walk over the layers. Both sides are computed in float32, on a card too:
/// 16-bit activations would add roundings of their own, as large as what a mistake in merging looks like.
package func mergeLogitTolerance(_ bits: MergePrecision) -> Double {
    switch bits {
    case .float32: 1e-4
    case .float16: 5e-3
    case .bfloat16: 4e-2
    }
}

package enum MergePrecision: String, Sendable { case float16, bfloat16, float32 }
