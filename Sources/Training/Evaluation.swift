import LorikeetDatasets
import LorikeetEngine

extension Session {
    /// Mean of -log p over the trained tokens of `samples`; nil when there are none.
    ///
    /// - Parameter progress: told the share done after each micro-batch; returning false stops (nil is returned).
    package func loss(of samples: SampleSet, tokensPerBatch: Int, progress: ((Double) -> Bool)? = nil) throws -> Double? {
        // One micro-batch in memory at a time.
        let groups = packedGroups(lengths: samples.lengths.map(\.tokens), tokensPerBatch: tokensPerBatch)
        var (sum, count) = (0.0, 0)
        for (index, group) in groups.enumerated() {
            for logProbability in try evaluate(TokenBatch(samples.samples(at: group), seed: 0, epoch: 0)) {
                sum -= Double(logProbability)
                count += 1
            }
            if let progress, !progress(Double(index + 1) / Double(groups.count)) { return nil }
        }
        return count > 0 ? sum / Double(count) : nil
    }
}
