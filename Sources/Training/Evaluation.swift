import LorikeetDatasets
import LorikeetEngine

/// What evaluation found of one sample.
package struct EvaluatedSample {
    /// Its index.
    package let index: Int
    package let sample: TokenSample
    /// log p of each trained token.
    package let logProbabilities: [Float]
    /// The likeliest token in place of each trained one; nil on a card.
    package let choices: [Int32]?
}

extension Session {
    /// Mean of -log p over the trained tokens of `samples`; nil when there are none.
    ///
    /// - Parameters:
    ///   - evaluated: told each sample's result; their order is that of the micro-batches.
    ///   - progress: told the share done after each micro-batch; returning false stops (nil is returned).
    package func loss(
        of samples: SampleSet, tokensPerBatch: Int, evaluated: (EvaluatedSample) -> Void = { _ in }, progress: ((Double) -> Bool)? = nil
    ) throws -> Double? {
        // One micro-batch in memory at a time.
        let groups = try samples.evaluationGroups(tokensPerBatch: tokensPerBatch, sharing: sharesPrefixes)
        var sums = Array(repeating: 0.0, count: samples.count)
        var count = 0
        for (number, group) in groups.enumerated() {
            let (batch, members) = try group.batch(of: samples)
            let results = try evaluate(batch)
            let choices = try choices(batch)
            var first = 0
            for (index, sample) in members {
                let rows = first..<first + sample.targets.count { $0 >= 0 }
                first = rows.upperBound
                count += rows.count
                for row in rows { sums[index] -= Double(results[row]) }
                evaluated(EvaluatedSample(index: index, sample: sample, logProbabilities: Array(results[rows]), choices: choices.map { Array($0[rows]) }))
            }
            if let progress, !progress(Double(number + 1) / Double(groups.count)) { return nil }
        }
        // Added in the samples' order, whichever micro-batch they were in.
        return count > 0 ? sums.reduce(0, +) / Double(count) : nil
    }
}

extension EvaluationGroup {
    /// The group as a micro-batch, and its samples in the order of their rows.
    fileprivate func batch(of samples: SampleSet) throws -> (batch: TokenBatch, members: [(index: Int, sample: TokenSample)]) {
        var batch = TokenBatch()
        var members: [(index: Int, sample: TokenSample)] = []
        for family in families {
            var parent: Range<Int>?
            for member in family.members {
                let sample = try samples.sample(at: member.index)
                if parent == nil, family.shared > 0 {
                    parent = batch.rows..<batch.rows + family.shared
                    batch.append(Array(sample.ids[..<family.shared]), targets: Array(repeating: -1, count: family.shared))
                }
                let own = family.shared..<member.rows
                batch.append(Array(sample.ids[own]), targets: Array(sample.targets[own]), parent: parent)
                members.append((member.index, sample))
            }
        }
        return (batch, members)
    }
}
