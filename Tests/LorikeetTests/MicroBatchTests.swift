import LorikeetDatasets
import Testing

@testable import LorikeetPlanning

/// The micro-batches that a plan foresees are those that training packs.
struct MicroBatchTests {
    @Test(arguments: [true, false]) func `the sizes are those of the packed groups`(packing: Bool) {
        var state: UInt64 = 7
        func next(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
        // Some samples are empty, some longer than a micro-batch.
        let train = (0..<600).map { _ in
            let tokens = next(12) == 0 ? 0 : 1 + next(next(9) == 0 ? 300 : 60)
            return SampleLength(tokens: tokens, trained: next(tokens + 1))
        }
        let data = PlannedData(train: train, validation: [], steps: 50, packing: packing) { step in Array(step * 12..<step * 12 + 12) }
        let (all, some) = (StepLengths(data), StepLengths(data, mostKept: 100))
        for tokensPerBatch in [1, 40, 100, 200, 301, 5000] {
            var (rows, trained, counts) = (0, 0, [Int: Int]())
            for step in 0..<50 {
                let group = train[step * 12..<step * 12 + 12].map { $0 }
                for batch in packedGroups(lengths: group.map(\.tokens), tokensPerBatch: tokensPerBatch, packing: packing) {
                    let tokens = batch.reduce(0) { $0 + group[$1].tokens }
                    (rows, trained) = (max(rows, tokens), max(trained, batch.reduce(0) { $0 + group[$1].trained }))
                    counts[tokens, default: 0] += 1
                }
            }
            for steps in [all, some] {
                let batches = steps.microBatches(tokensPerBatch: tokensPerBatch)
                #expect(batches.rows == rows && batches.trained == trained && batches.counts == counts, "\(tokensPerBatch)")
            }
        }
    }
}
