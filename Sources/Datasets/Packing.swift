/// A micro-batch: segments one after another, each from one sample, then padding up to the fixed token count.
///
///     ids           5  6  7  2 | 8  9  2 | 0  0
///     positions     0  1  2  3 | 0  1  2 | 0  0
///     segmentStart  0  0  0  0 | 4  4  4 | 7  8
///     targets      -1  7  2 -1 | 9  2 -1 |-1 -1      (row i predicts row i+1 of its segment; -1: no loss)
package struct PackedBatch: Sendable, Equatable {
    package var ids: [Int32] = []
    /// Restart at 0 with every segment.
    package var positions: [Int32] = []
    /// The row on which the row's segment begins; a padding row is a segment of its own.
    package var segmentStart: [Int32] = []
    /// The token that a row has to predict; -1 where nothing is learnt.
    package var targets: [Int32] = []
    /// The weight of each row's loss: 1; the trainer divides by the step's trained tokens.
    package var weights: [Float] = []
    /// A hash of (seed, epoch, record, position), so that dropout masks do not depend on packing.
    package var dropoutKeys: [UInt32] = []
    /// Real tokens; the rows after them are padding.
    package var rows = 0
    /// Indices into the list that was packed, in the order of the segments.
    package var samples: [Int] = []

    /// Rows with padding.
    package var tokens: Int { ids.count }
    /// Rows with a target.
    package var trainedTokens: Int { targets.reduce(0) { $1 >= 0 ? $0 + 1 : $0 } }

    fileprivate mutating func append(_ sample: TokenSample, index: Int, seed: UInt64, epoch: Int) {
        let start = Int32(ids.count)
        let count = sample.ids.count
        let record = StatelessRandom.bits(seed, .dropout, UInt64(bitPattern: Int64(epoch)), UInt64(sample.record))
        for position in 0..<count {
            let next = position + 1
            ids.append(sample.ids[position])
            positions.append(Int32(position))
            segmentStart.append(start)
            targets.append(next < count && sample.trained[next] ? sample.ids[next] : -1)
            weights.append(1)
            dropoutKeys.append(UInt32(truncatingIfNeeded: StatelessRandom.mix(record ^ UInt64(position)) >> 32))
        }
        rows += count
        samples.append(index)
    }

    fileprivate mutating func pad(to tokens: Int) {
        while ids.count < tokens {
            segmentStart.append(Int32(ids.count))
            ids.append(0)
            positions.append(0)
            targets.append(-1)
            weights.append(1)
            dropoutKeys.append(0)
        }
    }
}

/// Which samples share a micro-batch, from their lengths alone: the placement that `pack` uses and that a plan foresees.
package func packedGroups(lengths: [Int], tokensPerBatch: Int, packing: Bool = true) -> [[Int]] {
    var groups: [(rows: Int, members: [Int])] = []
    for (index, length) in lengths.enumerated() where length > 0 {
        let room = packing ? groups.firstIndex { $0.rows + length <= tokensPerBatch } : nil
        if let room {
            groups[room].rows += length
            groups[room].members.append(index)
        } else {
            groups.append((length, [index]))
        }
    }
    return groups.map(\.members)
}

/// Packs samples into micro-batches: each goes into the first one with room (first fit, in the given order), so the result
/// follows from the arguments alone.
///
/// - Parameters:
///   - samples: those of one optimiser step.
///   - tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
///   - granularity: rows are padded up to a multiple of it, where `tokensPerBatch` allows.
///   - packing: false gives every sample a micro-batch of its own.
package func pack(
    samples: [TokenSample], tokensPerBatch: Int, granularity: Int = 1, seed: UInt64, epoch: Int, packing: Bool = true
) -> [PackedBatch] {
    let step = max(1, granularity)
    var batches: [PackedBatch] = []
    for group in packedGroups(lengths: samples.map(\.ids.count), tokensPerBatch: tokensPerBatch, packing: packing) {
        var batch = PackedBatch()
        for index in group { batch.append(samples[index], index: index, seed: seed, epoch: epoch) }
        batches.append(batch)
    }
    for index in batches.indices {
        let rows = batches[index].rows
        let rounded = (rows + step - 1) / step * step
        batches[index].pad(to: rows <= tokensPerBatch ? min(rounded, tokensPerBatch) : rounded)
    }
    return batches
}
