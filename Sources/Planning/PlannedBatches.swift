import LorikeetDatasets
import LorikeetEngine

/// What the micro-batches of an evaluation, or of all optimiser steps, compute on the processor, added up.
package struct PlannedBatches: Sendable {
    /// Tokens of the samples, and rows of the micro-batches, which are fewer where samples share what they begin with.
    package private(set) var tokens = 0
    package private(set) var rows = 0
    /// The same with the rows that programs add (`Session.roundedUp`).
    private(set) var paddedRows = 0
    /// The most rows, and the most rows with a target, of any micro-batch.
    private(set) var largest = (rows: 0, trained: 0)
    private var trained = 0
    /// By length in tokens: the segments, as whole texts, without those whose rows are computed in another.
    private var segments: [Int: Int] = [:]

    package init() {}

    /// - Parameter tokens: of the samples.
    package init(_ groups: [SampleGroup], tokens: Int) {
        self.init()
        add(groups, tokens: tokens)
    }

    /// Whole samples of these lengths, packed.
    package init(_ lengths: [SampleLength], tokensPerBatch: Int) {
        self.init()
        add(.whole(lengths, tokensPerBatch: tokensPerBatch), tokens: lengths.reduce(0) { $0 + $1.tokens })
    }

    /// Counts micro-batches.
    ///
    /// - Parameter tokens: of the samples in them.
    package mutating func add(_ groups: [SampleGroup], tokens: Int) {
        self.tokens += tokens
        for group in groups {
            rows += group.rows
            paddedRows += Session.roundedUp(group.rows)
            trained += group.trained
            largest = (max(largest.rows, group.rows), max(largest.trained, group.trained))
            for family in group.families {
                for member in family.members { segments[member.rows, default: 0] += 1 }
                // A member's own rows see what its whole text would, but the shared rows are computed once.
                if family.shared > 0 { segments[family.shared, default: 0] += 1 - family.members.count }
            }
        }
    }

    /// The mean work of a row.
    var workload: Workload {
        Workload(segments: SegmentLengths(counts: segments), trainedShare: Double(trained) / Double(max(1, rows)))
    }
}
