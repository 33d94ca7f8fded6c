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

/// Packs whole samples into micro-batches, a segment a sample; which samples share one follows from the arguments alone (`packedGroups`).
///
/// - Parameter tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
/// - Returns: batches whose rows weigh 1 each.
package func pack(samples: [TokenSample], tokensPerBatch: Int) -> [TokenBatch] {
    [SampleGroup].whole(samples.map(\.length), tokensPerBatch: tokensPerBatch).map { group in
        TokenBatch(group, seed: 0, epoch: 0) { samples[$0] }
    }
}

extension TokenBatch {
    /// A group of samples as a micro-batch: what a family shares is a segment, and each member goes on from it. Rows weigh 1 each; training divides by
    /// the step's trained tokens.
    ///
    /// - Parameter sample: gives a member's sample by its index.
    init(_ group: SampleGroup, seed: UInt64, epoch: Int, sample: (Int) throws -> TokenSample) rethrows {
        self.init()
        for family in group.families {
            var parent: Range<Int>?
            for member in family.members {
                let sample = try sample(member.index)
                let keys = sample.dropoutKeys(seed: seed, epoch: epoch)
                if parent == nil, family.shared > 0 {
                    parent = rows..<rows + family.shared
                    append(
                        Array(sample.ids[..<family.shared]), targets: Array(repeating: -1, count: family.shared),
                        dropoutKeys: Array(keys[..<family.shared]))
                }
                let own = family.shared..<member.rows
                append(Array(sample.ids[own]), targets: Array(sample.targets[own]), dropoutKeys: Array(keys[own]), parent: parent)
            }
        }
    }
}
