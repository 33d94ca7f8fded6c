import Testing

@testable import LorikeetDatasets

struct OrderTests {
    @Test func `an epoch's order is a permutation that depends on seed and epoch alone`() {
        let order = epochOrder(count: 1000, seed: 42, epoch: 1, shuffle: true)
        #expect(order.sorted() == Array(0..<1000))
        #expect(order == epochOrder(count: 1000, seed: 42, epoch: 1, shuffle: true))
        #expect(order != epochOrder(count: 1000, seed: 42, epoch: 2, shuffle: true))
        #expect(order != epochOrder(count: 1000, seed: 43, epoch: 1, shuffle: true))
        #expect(epochOrder(count: 5, seed: 42, epoch: 1, shuffle: false) == [0, 1, 2, 3, 4])
        #expect(epochOrder(count: 0, seed: 42, epoch: 0, shuffle: true).isEmpty)
        #expect(epochOrder(count: 1, seed: 42, epoch: 0, shuffle: true) == [0])
    }

    @Test func `every permutation is as likely as another`() {
        var counts: [[Int]: Int] = [:]
        for epoch in 0..<6000 { counts[epochOrder(count: 3, seed: 7, epoch: epoch, shuffle: true), default: 0] += 1 }
        #expect(counts.count == 6)
        // 1,000 expected each; five standard deviations are 144.
        #expect(counts.values.allSatisfy { abs($0 - 1000) < 144 }, "\(counts)")
    }

    @Test func `the numbers are those of SplitMix64, so that a resumed run sees the same order`() {
        // The generator's first outputs from state 0, as its authors' program prints them.
        #expect(StatelessRandom.mix(0) == 0xE220_A839_7B1D_CDAF)
        #expect(StatelessRandom.mix(0x9E37_79B9_7F4A_7C15) == 0x6E78_9E6A_A1B9_65F4)
    }
}

struct PackingTests {
    private static func sample(_ record: Int, _ count: Int) -> TokenSample {
        TokenSample(
            record: record, ids: (0..<count).map { Int32(record * 1000 + $0 + 1) }, trained: (0..<count).map { $0 > 0 && $0 * 2 >= count })
    }

    private static let sixteen = [45, 7, 128, 30, 61, 2, 99, 14, 77, 1, 50, 33, 20, 64, 5, 90].enumerated().map { sample($0.offset, $0.element) }

    @Test func `segments restart positions, and a row predicts the next token of its own segment`() {
        let samples = [
            TokenSample(record: 3, ids: [5, 6, 7, 2], trained: [false, false, true, true]),
            TokenSample(record: 4, ids: [8, 9, 2], trained: [false, true, true]),
        ]
        let batches = pack(samples: samples, tokensPerBatch: 16, granularity: 9, seed: 1, epoch: 0)
        #expect(batches.count == 1)
        #expect(batches[0].ids == [5, 6, 7, 2, 8, 9, 2, 0, 0])
        #expect(batches[0].positions == [0, 1, 2, 3, 0, 1, 2, 0, 0])
        #expect(batches[0].segmentStart == [0, 0, 0, 0, 4, 4, 4, 7, 8])
        #expect(batches[0].targets == [-1, 7, 2, -1, 9, 2, -1, -1, -1])
        #expect(batches[0].weights == Array(repeating: 1, count: 9))
        #expect(batches[0].rows == 7)
        #expect(batches[0].tokens == 9)
        #expect(batches[0].samples == [0, 1])
        #expect(batches[0].trainedTokens == 4)
    }

    @Test(arguments: [(128, 1), (128, 32), (200, 64), (1000, 128), (64, 32), (1, 1), (100, 30)])
    func `every sample is packed once and whole, and no batch is larger than allowed`(tokensPerBatch: Int, granularity: Int) throws {
        let samples = Self.sixteen
        let batches = pack(samples: samples, tokensPerBatch: tokensPerBatch, granularity: granularity, seed: 1, epoch: 0)
        #expect(batches.flatMap(\.samples).sorted() == Array(samples.indices))
        for batch in batches {
            var row = 0
            for index in batch.samples {
                let sample = samples[index]
                #expect(Array(batch.ids[row..<row + sample.ids.count]) == sample.ids)
                #expect(batch.segmentStart[row..<row + sample.ids.count].allSatisfy { $0 == Int32(row) })
                row += sample.ids.count
            }
            #expect(row == batch.rows)
            #expect(batch.tokens <= tokensPerBatch || batch.samples.count == 1)
            #expect(batch.tokens - batch.rows < granularity)
            #expect(batch.tokens % granularity == 0 || batch.tokens == tokensPerBatch)
            for list in [batch.positions.count, batch.segmentStart.count, batch.targets.count, batch.weights.count, batch.dropoutKeys.count] {
                #expect(list == batch.tokens)
            }
            #expect(batch.targets[batch.rows...].allSatisfy { $0 == -1 })
        }
        let trained = samples.map(\.trainedCount).reduce(0, +)
        #expect(batches.map(\.trainedTokens).reduce(0, +) == trained)
    }

    @Test func `without packing every sample has a batch of its own`() {
        let batches = pack(samples: Self.sixteen, tokensPerBatch: 1000, granularity: 1, seed: 1, epoch: 0, packing: false)
        #expect(batches.map(\.samples) == Self.sixteen.indices.map { [$0] })
    }

    @Test func `the first batch with room takes the next sample`() {
        let samples = [60, 60, 30, 40].enumerated().map { Self.sample($0.offset, $0.element) }
        let batches = pack(samples: samples, tokensPerBatch: 100, granularity: 1, seed: 1, epoch: 0)
        #expect(batches.map(\.samples) == [[0, 2], [1, 3]])
    }

    @Test func `dropout keys belong to the record's tokens, however they are packed`() {
        func keys(_ batches: [PackedBatch]) -> [Int: [UInt32]] {
            var result: [Int: [UInt32]] = [:]
            for batch in batches {
                var row = 0
                for index in batch.samples {
                    let count = Self.sixteen[index].ids.count
                    result[index] = Array(batch.dropoutKeys[row..<row + count])
                    row += count
                }
            }
            return result
        }
        let packed = keys(pack(samples: Self.sixteen, tokensPerBatch: 300, granularity: 64, seed: 1, epoch: 0))
        let alone = keys(pack(samples: Self.sixteen, tokensPerBatch: 300, granularity: 1, seed: 1, epoch: 0, packing: false))
        #expect(packed == alone)
        #expect(packed != keys(pack(samples: Self.sixteen, tokensPerBatch: 300, granularity: 1, seed: 1, epoch: 1)))
        #expect(packed != keys(pack(samples: Self.sixteen, tokensPerBatch: 300, granularity: 1, seed: 2, epoch: 0)))
        let all = packed.values.flatMap { $0 }
        #expect(Set(all).count == all.count, "726 keys of 32 bits hardly ever meet")
    }

    @Test func `nothing gives nothing`() {
        #expect(pack(samples: [], tokensPerBatch: 10, granularity: 4, seed: 1, epoch: 0).isEmpty)
    }
}
