import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// A form of the model (base, base + adapter, merged) on held-out rows.
package struct FormResult: Sendable {
    /// Mean -log p of the trained tokens of all validation rows; nil without any.
    package var loss: Double?
    /// Share of rows answered exactly (greedy, white space trimmed); nil without any.
    package var answersRight: Double?
    /// The answers, in the rows' order.
    package var answers: [String]
    /// Why the form gives no answers, e.g. logits that are not finite; nil where it gives them.
    package var failure: String?

    package init(loss: Double?, answersRight: Double?, answers: [String], failure: String? = nil) {
        self.loss = loss
        self.answersRight = answersRight
        self.answers = answers
        self.failure = failure
    }
}

/// Asks a model for answers and compares them with what was expected.
package struct AnswerTest {
    package let rows: [HeldOutRow]
    package let tokenizer: Tokenizer
    /// Prompts that are answered at the same time.
    package let slots: Int
    /// Tokens of each row's expected answer, its end not included.
    package let expected: [Int]

    /// - Throws: as `Tokenizer.encode`.
    package init(rows: [HeldOutRow], tokenizer: Tokenizer, slots: Int) throws {
        self.rows = rows
        self.tokenizer = tokenizer
        self.slots = slots
        expected = try rows.map { try tokenizer.encode($0.answer).count }
    }

    /// New tokens that are enough for every expected answer: the longest one's and a half, at least 16, at most 256.
    package var maxNewTokens: Int {
        let longest = expected.max() ?? 0
        return min(256, max(16, longest + longest / 2))
    }

    /// The greedy answers to all rows, in their order, without white space at either end.
    ///
    /// - Parameters:
    ///   - begun: first tokens of the answers that are known already; only the rest is generated. Empty where none are.
    ///   - onGroup: called once for each group of `slots` prompts, after they have been read.
    ///   - progress: told the share of prompts that have been read; what it throws ends the test.
    /// - Throws: exit 1 where the model's logits are not finite (see `Session.generate`).
    package func answers(
        of session: Session, begun: [[Int32]] = [], onGroup: () -> Void = {}, progress: (Double) throws -> Void = { _ in }
    ) throws -> [String] {
        let limit = maxNewTokens
        let ends = Set(tokenizer.endTokens)
        var answers = begun.isEmpty ? rows.map { _ in [] } : begun
        let open = rows.indices.filter { answers[$0].count < limit && !(answers[$0].last.map(ends.contains) ?? false) }
        let requests = open.map { GenerationRequest(prompt: rows[$0].promptIDs + answers[$0], maxNewTokens: limit - answers[$0].count) }
        var group = -1
        var last = -1
        let rest = try session.generate(requests, rules: .greedy, endTokens: ends, slots: slots) { request, _ in
            if request > last {
                last = request
                try progress(Double(request + 1) / Double(open.count))
            }
            if request / max(1, slots) > group {
                group = request / max(1, slots)
                onGroup()
            }
            return true
        }
        for (row, tokens) in zip(open, rest) { answers[row] += tokens }
        return answers.map {
            tokenizer.decode($0.filter { !ends.contains($0) }, skipSpecial: true).trimmed
        }
    }

    /// The share of rows whose answer equals the expected one but for white space at its ends, from 0 to 1; nil without rows.
    ///
    /// - Parameter answers: those of `answers(of:)`.
    package func shareRight(_ answers: [String]) -> Double? {
        guard !rows.isEmpty else { return nil }
        return Double(zip(rows, answers).count { Self.isRight($1, expected: $0.answer) }) / Double(rows.count)
    }

    /// Whether an answer is the expected one but for white space at its ends.
    package static func isRight(_ answer: String, expected: String) -> Bool { answer.trimmed == expected.trimmed }
}

/// The outcome of a proof.
package enum Verdict: Sendable, Equatable {
    case pass
    case fail
    /// There was nothing to compare: this proves nothing, so it is not a pass.
    case notTested

    /// `pass` of a summary: true, false, or null where nothing was tested.
    package var json: JSON {
        switch self {
        case .pass: true
        case .fail: false
        case .notTested: .null
        }
    }

    package var word: String {
        switch self {
        case .pass: "pass"
        case .fail: "FAIL"
        case .notTested: "not tested"
        }
    }
}

/// Transfer: the merged model may be worse than the form that was trained by at most `tolerance` of loss on held-out rows.
package func transferVerdict(trained: FormResult, merged: FormResult, tolerance: Double) -> Verdict {
    guard trained.failure == nil, merged.failure == nil else { return .fail }
    guard let before = trained.loss, let after = merged.loss else { return .notTested }
    return before.isFinite && after.isFinite && after <= before + tolerance ? .pass : .fail
}

/// How far two forms' logits are apart.
package struct LogitDifference: Sendable, Equatable {
    /// Over the rows that were compared.
    package var maximum = 0.0
    package var mean = 0.0
    /// The largest absolute logit of the first form: `verdict` allows a share of it.
    package var largestLogit = 0.0
    /// Share of the compared rows on which both choose the same token; nil where none was compared.
    package var sameChoice: Double?
    /// Rows that were compared.
    package var rows = 0
    /// Rows that could not be compared: a logit of either form is NaN or infinite, or only one form has the row.
    package var unusableRows = 0

    package init() {}

    /// The smallest share of rows on which both have to choose the same token. Rounding can swap two almost equal logits, which is rare: where
    /// most rows choose another token, it is another model, however small the differences.
    package static let leastSameChoice = 0.5

    /// Identity: the merged model's logits are base + adapter's, as far as merging in `precision` rounds.
    package func verdict(_ precision: MergePrecision) -> Verdict {
        guard unusableRows == 0 else { return .fail }
        guard let sameChoice else { return .notTested }
        return maximum <= mergeLogitTolerance(precision) * max(largestLogit, 1) && sameChoice >= Self.leastSameChoice ? .pass : .fail
    }
}

/// Logits of one form of a model, to be compared with another's when this one is no longer in memory.
package struct LogitRecord: Sendable {
    private let samples: [TokenSample]
    /// By sample: [rows, V].
    private let logits: [[Float]]
    private let rowsOfSample: Int
    /// Samples that are computed together, as indices.
    private let groups: [[Int]]
    private let vocabulary: Int

    /// - Parameters:
    ///   - rowsOfSample: rows compared of each sample, evenly spread over those that predict a trained token.
    ///   - tokensPerBatch: tokens that are computed together, in whole samples; 1 computes each alone.
    package init(of session: Session, samples: [TokenSample], rowsOfSample: Int, tokensPerBatch: Int = 1) throws {
        self.samples = samples
        self.rowsOfSample = rowsOfSample
        groups = packedGroups(lengths: samples.map(\.ids.count), tokensPerBatch: tokensPerBatch)
        vocabulary = session.model.family.vocabularySize
        var logits: [[Float]] = Array(repeating: [], count: samples.count)
        for group in groups {
            for (index, values) in zip(group, try Self.logits(session, group.map { samples[$0] }, rowsOfSample)) { logits[index] = values }
        }
        self.logits = logits
    }

    /// By sample: [rows, V].
    private static func logits(_ session: Session, _ samples: [TokenSample], _ limit: Int) throws -> [[Float]] {
        var batch = TokenBatch()
        var (rows, counts): ([Int], [Int]) = ([], [])
        for sample in samples {
            let answering = sample.trained.indices.filter { sample.trained[$0] && $0 > 0 }.map { $0 - 1 + batch.rows }
            let count = max(0, min(limit, answering.count))
            rows += (0..<count).map { answering[$0 * answering.count / count] }
            counts.append(count)
            batch.append(sample.ids)
        }
        guard !rows.isEmpty else { return samples.map { _ in [] } }
        var rest = try session.logits(batch, rows: rows)[...]
        return counts.map { count in
            defer { rest = rest.dropFirst(count * session.model.family.vocabularySize) }
            return Array(rest.prefix(count * session.model.family.vocabularySize))
        }
    }

    /// How far `session`'s logits are from these, which are float32 on both sides.
    package func difference(from session: Session) throws -> LogitDifference {
        // A group at a time: the logits of all samples are in memory once, not twice.
        var ready: [Int: [Float]] = [:]
        let others = samples.indices.lazy.map { index in
            { () throws -> [Float] in
                if ready[index] == nil, let group = groups.first(where: { $0.contains(index) }) {
                    for (member, values) in zip(group, try Self.logits(session, group.map { samples[$0] }, rowsOfSample)) { ready[member] = values }
                }
                return ready.removeValue(forKey: index) ?? []
            }
        }
        return try LogitRecord.difference(logits, others, vocabulary: (vocabulary, session.model.family.vocabularySize))
    }

    /// - Parameters:
    ///   - x: by sample: [rows, V].
    ///   - y: the same of the other form.
    ///   - vocabulary: V of either.
    static func difference(_ x: [[Float]], _ y: [[Float]], vocabulary: (x: Int, y: Int)) -> LogitDifference {
        difference(x, y.lazy.map { values in { values } }, vocabulary: vocabulary)
    }

    /// - Parameter y: by sample: gives [rows, V].
    private static func difference<E: Error>(
        _ x: [[Float]], _ y: some Sequence<() throws(E) -> [Float]>, vocabulary: (x: Int, y: Int)
    ) throws(E) -> LogitDifference {
        var result = LogitDifference()
        var (sum, same) = (0.0, 0)
        for (x, y) in zip(x, y) {
            let y = try y()
            let rows = (x: x.count / max(1, vocabulary.x), y: y.count / max(1, vocabulary.y))
            guard vocabulary.x == vocabulary.y, rows.x == rows.y else {
                result.unusableRows += max(rows.x, rows.y)
                continue
            }
            for row in 0..<rows.x {
                let range = row * vocabulary.x..<(row + 1) * vocabulary.x
                // Looked for first, because the maxima below would drop a NaN.
                guard x[range].allSatisfy(\.isFinite), y[range].allSatisfy(\.isFinite) else {
                    result.unusableRows += 1
                    continue
                }
                var (bestX, bestY) = (range.lowerBound, range.lowerBound)
                for i in range {
                    let difference = abs(Double(x[i]) - Double(y[i]))
                    result.maximum = max(result.maximum, difference)
                    result.largestLogit = max(result.largestLogit, Double(abs(x[i])))
                    sum += difference
                    if x[i] > x[bestX] { bestX = i }
                    if y[i] > y[bestY] { bestY = i }
                }
                result.rows += 1
                if bestX == bestY { same += 1 }
            }
        }
        if result.rows > 0 {
            result.mean = sum / Double(result.rows * vocabulary.x)
            result.sameChoice = Double(same) / Double(result.rows)
        }
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

package enum MergePrecision: String, Sendable {
    case float16, bfloat16, float32

    /// What a merged model's files hold, whatever a recipe says: the coarsest of its tensors' types.
    package init(of merged: ModelSource) {
        let types = Set(merged.files.tensors.values.map(\.type))
        self = types.contains(.bf16) ? .bfloat16 : types.contains(.f16) ? .float16 : .float32
    }
}
