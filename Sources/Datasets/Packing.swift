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
