/// The size of one sample, or of several together: tokens, and those of them that are trained.
package struct SampleLength: Sendable, Equatable {
    // A run may have millions of samples.
    @usableFromInline let count32, trained32: Int32

    @inlinable package var tokens: Int { Int(count32) }
    @inlinable package var trained: Int { Int(trained32) }

    @inlinable package init(tokens: Int, trained: Int) { (count32, trained32) = (Int32(clamping: tokens), Int32(clamping: trained)) }

    init(_ entry: SampleSet.Entry) { (count32, trained32) = (entry.tokens, entry.trained) }

    @inlinable package static func + (a: SampleLength, b: SampleLength) -> SampleLength {
        SampleLength(tokens: a.tokens + b.tokens, trained: a.trained + b.trained)
    }
}

/// Which samples share a micro-batch, from their lengths alone: each goes into the first one with room (first fit, in the given order).
/// Training packs by it, and a plan foresees it.
///
/// - Parameters:
///   - lengths: tokens of each sample; those of length 0 are left out.
///   - tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
///   - packing: false gives every sample a micro-batch of its own.
/// - Returns: indices into `lengths`, by micro-batch.
package func packedGroups(lengths: [Int], tokensPerBatch: Int, packing: Bool = true) -> [[Int]] {
    var groups: [[Int]] = []
    firstFit(lengths.count, tokensPerBatch: tokensPerBatch, packing: packing, length: { lengths[$0] }) { index, group in
        if group == groups.count { groups.append([index]) } else { groups[group].append(index) }
    }
    return groups
}

/// The sizes of the groups that `packedGroups` makes, without their members.
///
/// - Parameters:
///   - lengths: of the samples; the other parameters as for `packedGroups`.
///   - body: called with each group's size.
package func packedSizes(
    _ lengths: UnsafeBufferPointer<SampleLength>, tokensPerBatch: Int, packing: Bool = true, _ body: (SampleLength) -> Void
) {
    withUnsafeTemporaryAllocation(of: SampleLength.self, capacity: lengths.count) { groups in
        var count = 0
        firstFit(lengths.count, tokensPerBatch: tokensPerBatch, packing: packing, length: { lengths[$0].tokens }) { index, group in
            if group == count {
                groups.initializeElement(at: group, to: lengths[index])
                count += 1
            } else {
                groups[group] = groups[group] + lengths[index]
            }
        }
        for group in 0..<count { body(groups[group]) }
    }
}

/// Puts each of `count` samples into the first group with room; those of length 0 into none.
///
/// - Parameters:
///   - length: tokens of a sample.
///   - placed: called with each sample and its group; a new group's number is that of the groups before it.
@inline(__always) private func firstFit(
    _ count: Int, tokensPerBatch: Int, packing: Bool, length: (_ index: Int) -> Int, placed: (_ index: Int, _ group: Int) -> Void
) {
    // Of every so many groups the fewest rows are known, so that full ones are passed by together.
    let together = 32
    // Rows of each group, then of every `together` groups the fewest.
    withUnsafeTemporaryAllocation(of: Int.self, capacity: count + count / together + 1) { memory in
        let (rows, fewest) = (UnsafeMutableBufferPointer(rebasing: memory[..<count]), UnsafeMutableBufferPointer(rebasing: memory[count...]))
        var groups = 0
        for index in 0..<count {
            let length = length(index)
            guard length > 0 else { continue }
            let most = tokensPerBatch - length
            let blocks = packing ? (groups + together - 1) / together : 0
            var block = 0
            while block < blocks, fewest[block] > most { block += 1 }
            guard block < blocks else {
                let last = groups / together
                fewest[last] = groups % together == 0 ? length : min(fewest[last], length)
                rows[groups] = length
                placed(index, groups)
                groups += 1
                continue
            }
            let end = min(groups, (block + 1) * together)
            var group = block * together
            while rows[group] > most { group += 1 }
            let before = rows[group]
            rows[group] = before + length
            if before == fewest[block] { fewest[block] = rows[(block * together)..<end].min() ?? 0 }
            placed(index, group)
        }
    }
}
