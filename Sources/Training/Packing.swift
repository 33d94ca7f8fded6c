import LorikeetDatasets
import LorikeetEngine
import LorikeetGround

extension TokenSample {
    /// What each token has to predict: the next one where that is trained, else -1.
    var targets: [Int32] { ids.indices.map { $0 + 1 < ids.count && trained[$0 + 1] ? ids[$0 + 1] : -1 } }

    /// A hash of (seed, epoch, record, position) for each token, so that dropout masks do not depend on the packing.
    fileprivate func dropoutKeys(seed: UInt64, epoch: Int) -> [UInt32] {
        let key = StatelessRandom.bits(seed, .dropout, UInt64(bitPattern: Int64(epoch)), UInt64(record))
        return ids.indices.map { UInt32(truncatingIfNeeded: mix64(key ^ UInt64($0)) >> 32) }
    }
}

/// Packs samples into micro-batches, a segment a sample; which samples share one follows from the arguments alone (`packedGroups`).
///
/// - Parameters:
///   - samples: those of one optimiser step.
///   - tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
///   - packing: false gives every sample a micro-batch of its own.
/// - Returns: batches whose rows weigh 1 each; training divides by the step's trained tokens.
package func pack(samples: [TokenSample], tokensPerBatch: Int, seed: UInt64, epoch: Int, packing: Bool = true) -> [TokenBatch] {
    packedGroups(lengths: samples.map(\.ids.count), tokensPerBatch: tokensPerBatch, packing: packing).map { group in
        TokenBatch(group.map { samples[$0] }, seed: seed, epoch: epoch)
    }
}

extension TokenBatch {
    /// Samples as segments.
    init(_ samples: [TokenSample], seed: UInt64, epoch: Int) {
        self.init()
        for sample in samples { append(sample.ids, targets: sample.targets, dropoutKeys: sample.dropoutKeys(seed: seed, epoch: epoch)) }
    }
}
