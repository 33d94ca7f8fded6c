import LorikeetDatasets
import LorikeetEngine

extension PackedBatch {
    /// The engine's form of the batch; every row's weight becomes `weight`.
    package func tokenBatch(weight: Float) -> TokenBatch {
        TokenBatch(
            ids: ids, positions: positions, segmentStart: segmentStart, targets: targets,
            weights: Array(repeating: weight, count: ids.count), dropoutKeys: dropoutKeys)
    }
}

extension Session {
    /// Mean of -log p over the trained tokens of `samples`; nil when there are none.
    ///
    /// - Parameter progress: told the share done after each micro-batch; returning false stops (nil is returned).
    package func loss(of samples: [TokenSample], tokensPerBatch: Int, progress: ((Double) -> Bool)? = nil) throws -> Double? {
        let batches = pack(samples: samples, tokensPerBatch: tokensPerBatch, seed: 0, epoch: 0)
        var (sum, count) = (0.0, 0)
        for (index, batch) in batches.enumerated() {
            for logProbability in try evaluate(batch.tokenBatch(weight: 1)) {
                sum -= Double(logProbability)
                count += 1
            }
            if let progress, !progress(Double(index + 1) / Double(batches.count)) { return nil }
        }
        return count > 0 ? sum / Double(count) : nil
    }
}
