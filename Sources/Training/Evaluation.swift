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
    ///   - progress: told the share done after each micro-batch; returning false stops (nil is returned), and so does what it throws.
    package func loss(
        of samples: SampleSet, tokensPerBatch: Int, evaluated: (EvaluatedSample) -> Void = { _ in }, progress: ((Double) throws -> Bool)? = nil
    ) throws -> Double? {
        // One micro-batch in memory at a time.
        let groups = try samples.evaluationGroups(tokensPerBatch: tokensPerBatch, sharing: sharesPrefixes)
        var sums = Array(repeating: 0.0, count: samples.count)
        var count = 0
        for (number, group) in groups.enumerated() {
            var members: [(index: Int, sample: TokenSample)] = []
            let batch = try TokenBatch(group, seed: 0, epoch: 0) { index in
                let sample = try samples.sample(at: index)
                members.append((index, sample))
                return sample
            }
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
            if let progress, try !progress(Double(number + 1) / Double(groups.count)) { return nil }
        }
        // Added in the samples' order, whichever micro-batch they were in.
        return count > 0 ? sums.reduce(0, +) / Double(count) : nil
    }
}
