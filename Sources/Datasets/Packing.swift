/// Which samples share a micro-batch, from their lengths alone: each goes into the first one with room (first fit, in the given order).
/// Training packs by it, and a plan foresees it.
///
/// - Parameters:
///   - lengths: tokens of each sample; those of length 0 are left out.
///   - tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
///   - packing: false gives every sample a micro-batch of its own.
/// - Returns: indices into `lengths`, by micro-batch.
package func packedGroups(lengths: [Int], tokensPerBatch: Int, packing: Bool = true) -> [[Int]] {
    var groups: [(rows: Int, members: [Int])] = []
    // Of every few groups the fewest rows, so that full ones are passed by together.
    var fewest: [Int] = []
    for (index, length) in lengths.enumerated() where length > 0 {
        let most = tokensPerBatch - length
        let block = packing ? fewest.firstIndex { $0 <= most } : nil
        let room = block.flatMap { block in (block * groupsOfBlock..<min(groups.count, (block + 1) * groupsOfBlock)).first { groups[$0].rows <= most } }
        if let block, let room {
            groups[room].rows += length
            groups[room].members.append(index)
            fewest[block] = groups[block * groupsOfBlock..<min(groups.count, (block + 1) * groupsOfBlock)].reduce(Int.max) { min($0, $1.rows) }
        } else {
            if groups.count % groupsOfBlock == 0 { fewest.append(length) } else { fewest[fewest.count - 1] = min(fewest[fewest.count - 1], length) }
            groups.append((length, [index]))
        }
    }
    return groups.map(\.members)
}

/// Groups that `packedGroups` passes by together.
private let groupsOfBlock = 32
