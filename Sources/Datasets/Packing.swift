/// The size of one sample, or of several together: tokens, and those of them that are trained.
package struct SampleLength: Sendable, Equatable {
    // A run may have millions of samples.
    private var count32, trained32: Int32

    package var tokens: Int { Int(count32) }
    package var trained: Int { Int(trained32) }

    package init(tokens: Int, trained: Int) { (count32, trained32) = (Int32(clamping: tokens), Int32(clamping: trained)) }

    init(_ entry: SampleSet.Entry) { (count32, trained32) = (entry.tokens, entry.trained) }

    package static func + (a: SampleLength, b: SampleLength) -> SampleLength {
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
    var (fit, groups) = (FirstFit(), [[Int]]())
    for (index, length) in lengths.enumerated() where length > 0 {
        let group = fit.place(length, tokensPerBatch: tokensPerBatch, packing: packing)
        if group == groups.count { groups.append([index]) } else { groups[group].append(index) }
    }
    return groups
}

/// The sizes of the groups that `packedGroups` makes, without their members. One value packs one list after the other, and needs memory for the first alone.
package struct PackedSizes {
    private var fit = FirstFit()
    /// Of the list that was packed last.
    package private(set) var groups: [SampleLength] = []

    package init() {}

    /// Packs a list of samples; parameters as for `packedGroups`.
    package mutating func pack(_ lengths: ArraySlice<SampleLength>, tokensPerBatch: Int, packing: Bool = true) {
        fit.clear()
        groups.removeAll(keepingCapacity: true)
        for length in lengths where length.tokens > 0 {
            let group = fit.place(length.tokens, tokensPerBatch: tokensPerBatch, packing: packing)
            if group == groups.count { groups.append(length) } else { groups[group] = groups[group] + length }
        }
    }
}

/// Groups with room, as first fit fills them.
private struct FirstFit {
    /// Rows of each group.
    private var rows: [Int] = []
    /// Of every few groups the fewest rows, so that full ones are passed by together.
    private var fewest: [Int] = []

    /// Groups that are passed by together.
    private static let groupsOfBlock = 32

    mutating func clear() {
        rows.removeAll(keepingCapacity: true)
        fewest.removeAll(keepingCapacity: true)
    }

    /// The group that a sample of this length goes into; their number before where it is a new one.
    mutating func place(_ length: Int, tokensPerBatch: Int, packing: Bool) -> Int {
        let most = tokensPerBatch - length
        guard packing, let block = fewest.firstIndex(where: { $0 <= most }) else {
            if rows.count % Self.groupsOfBlock == 0 { fewest.append(length) } else { fewest[fewest.count - 1] = min(fewest[fewest.count - 1], length) }
            rows.append(length)
            return rows.count - 1
        }
        let end = min(rows.count, (block + 1) * Self.groupsOfBlock)
        var group = block * Self.groupsOfBlock
        while rows[group] > most { group += 1 }
        let before = rows[group]
        rows[group] += length
        if before == fewest[block] { fewest[block] = rows[block * Self.groupsOfBlock..<end].min() ?? 0 }
        return group
    }
}
