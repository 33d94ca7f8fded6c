import LorikeetDatasets
import LorikeetDevices
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
        let train = (0..<595).map { _ in
            let tokens = next(12) == 0 ? 0 : 1 + next(next(9) == 0 ? 300 : 60)
            return SampleLength(tokens: tokens, trained: next(tokens + 1))
        }
        // Two epochs and a half; the last step of an epoch has 7 samples, and the second epoch visits them backwards.
        var data = PlannedData(train: train, validation: [], steps: 125, samplesPerStep: 12, packing: packing) { $0 == 1 ? train.reversed() : train }
        let order = train + train.reversed() + train
        let steps = (0..<125).map { step in
            let first = step / 50 * 595 + step % 50 * 12
            return Array(order[first..<min(first + 12, (step / 50 + 1) * 595)])
        }
        // Results do not depend on threads.
        let cpu = CPU(threads: 3)
        for mostKept in [0, 600, 10_000, 20_000] {
            if mostKept > 10_000 { data.parallel = { count, body in cpu.parallel(over: count, body) } }
            let lengths = StepLengths(data, mostKept: mostKept)
            #expect(lengths.allTokens == steps.joined().reduce(0) { $0 + $1.tokens })
            #expect(lengths.largest == steps.map { $0.reduce(0) { $0 + $1.tokens } }.max())
            for tokensPerBatch in [1, 40, 100, 200, 301, 5000] {
                var (rows, trained, counts) = (0, 0, [Int: Int]())
                for group in steps {
                    for batch in packedGroups(lengths: group.map(\.tokens), tokensPerBatch: tokensPerBatch, packing: packing) {
                        let tokens = batch.reduce(0) { $0 + group[$1].tokens }
                        (rows, trained) = (max(rows, tokens), max(trained, batch.reduce(0) { $0 + group[$1].trained }))
                        counts[tokens, default: 0] += 1
                    }
                }
                let batches = lengths.microBatches(tokensPerBatch: tokensPerBatch)
                #expect(batches.rows == rows && batches.trained == trained && batches.counts == counts, "\(tokensPerBatch), \(mostKept) kept")
            }
        }
    }

    /// More groups than are passed by together.
    @Test func `sizes of many groups are those of the packed groups`() {
        let lengths = (0..<3000).map { SampleLength(tokens: 1 + ($0 * 7919) % 90, trained: $0 % 5) }
        for tokensPerBatch in [50, 100, 250] {
            var sizes: [SampleLength] = []
            lengths.withUnsafeBufferPointer { packedSizes($0, tokensPerBatch: tokensPerBatch) { sizes.append($0) } }
            let groups = packedGroups(lengths: lengths.map(\.tokens), tokensPerBatch: tokensPerBatch)
            #expect(sizes == groups.map { $0.reduce(SampleLength(tokens: 0, trained: 0)) { $0 + lengths[$1] } })
            // First fit as it is defined.
            var rows: [Int] = []
            for length in lengths.map(\.tokens) {
                if let place = rows.firstIndex(where: { $0 + length <= tokensPerBatch }) { rows[place] += length } else { rows.append(length) }
            }
            #expect(sizes.map(\.tokens) == rows)
        }
    }
}
