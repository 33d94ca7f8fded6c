import LorikeetDatasets
import LorikeetEngine

/// What an evaluation of samples computes: its micro-batches (`SampleSet.evaluationGroups`), added up.
package struct PlannedEvaluation: Sendable {
    /// Rows of all micro-batches.
    let rows: Int
    /// The most rows, and the most rows with a target, of any micro-batch.
    let largest: (rows: Int, trained: Int)
    /// The mean work of a row.
    let workload: Workload

    package init(_ groups: [EvaluationGroup]) {
        rows = groups.reduce(0) { $0 + $1.rows }
        largest = groups.reduce((0, 0)) { (max($0.0, $1.rows), max($0.1, $1.trained)) }
        let families = groups.flatMap(\.families)
        // A member's own rows see what its whole text would, but the shared rows are computed once.
        let shared = families.filter { $0.shared > 0 }
        workload = Workload(
            segments: SegmentLengths(
                families.flatMap { $0.members.map(\.rows) } + shared.map(\.shared),
                without: shared.flatMap { family in family.members.map { _ in family.shared } }),
            trainedShare: Double(groups.reduce(0) { $0 + $1.trained }) / Double(max(1, rows)))
    }

    /// Whole samples of these lengths, packed.
    init(_ lengths: [SampleLength], tokensPerBatch: Int) {
        self.init(
            packedGroups(lengths: lengths.map(\.tokens), tokensPerBatch: tokensPerBatch).map { group in
                EvaluationGroup(
                    families: group.map { .init(shared: 0, members: [.init(index: $0, rows: lengths[$0].tokens, trained: lengths[$0].trained)]) })
            })
    }
}
