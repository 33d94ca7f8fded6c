import LorikeetDatasets
import LorikeetEngine

extension Session {
    /// Mean of -log p over the trained tokens of `samples`; nil when there are none.
    ///
    /// - Parameter progress: told the share done after each micro-batch; returning false stops (nil is returned).
    package func loss(of samples: [TokenSample], tokensPerBatch: Int, progress: ((Double) -> Bool)? = nil) throws -> Double? {
        let batches = pack(samples: samples, tokensPerBatch: tokensPerBatch, seed: 0, epoch: 0)
        var (sum, count) = (0.0, 0)
        for (index, batch) in batches.enumerated() {
            for logProbability in try evaluate(batch) {
                sum -= Double(logProbability)
                count += 1
            }
            if let progress, !progress(Double(index + 1) / Double(batches.count)) { return nil }
        }
        return count > 0 ? sum / Double(count) : nil
    }
}
