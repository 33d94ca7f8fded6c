import LorikeetDatasets
import LorikeetEngine
import LorikeetPlanning
import Testing

@testable import LorikeetTraining

/// Samples as micro-batches.
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
        let batches = pack(samples: samples, tokensPerBatch: 16)
        #expect(batches.count == 1)
        #expect(batches[0].ids == [5, 6, 7, 2, 8, 9, 2])
        #expect(batches[0].positions == [0, 1, 2, 3, 0, 1, 2])
        #expect(batches[0].segmentStart == [0, 0, 0, 0, 4, 4, 4])
        #expect(batches[0].targets == [-1, 7, 2, -1, 9, 2, -1])
        #expect(batches[0].weights == Array(repeating: 1, count: 7))
        #expect(batches[0].trainedRows == 4)
    }

    @Test(arguments: [128, 200, 1000, 64, 1, 100]) func `every sample is packed once and whole`(tokensPerBatch: Int) throws {
        let samples = Self.sixteen
        let batches = pack(samples: samples, tokensPerBatch: tokensPerBatch)
        let groups = packedGroups(lengths: samples.map(\.ids.count), tokensPerBatch: tokensPerBatch)
        #expect(batches.count == groups.count)
        for (batch, group) in zip(batches, groups) {
            var row = 0
            for index in group {
                let sample = samples[index]
                let rows = row..<row + sample.ids.count
                try #require(rows.upperBound <= batch.rows)
                #expect(Array(batch.ids[rows]) == sample.ids)
                #expect(batch.segmentStart[rows].allSatisfy { $0 == Int32(row) })
                #expect(Array(batch.positions[rows]) == sample.ids.indices.map(Int32.init))
                row += sample.ids.count
            }
            #expect(row == batch.rows)
            for list in [batch.positions.count, batch.segmentStart.count, batch.targets.count, batch.weights.count, batch.dropoutKeys.count] {
                #expect(list == batch.rows)
            }
        }
        #expect(batches.map(\.trainedRows).reduce(0, +) == samples.map(\.trainedCount).reduce(0, +))
    }

    /// 16 samples of 726 tokens, the longest of 128.
    @Test(
        arguments: [
            (Replicas.one, 1024, [726]), (Replicas.one, 400, [392, 334]), (Replicas(count: 2, rows: 1024), 1024, [407, 319]),
            (Replicas(count: 3, rows: 682), 1024, [273, 266, 187]), (Replicas(count: 4, rows: 512), 1024, [202, 190, 180, 154]),
            // Eight parts of a mean of 91 would all wait for the longest sample.
            (Replicas(count: 8, rows: 256), 1024, [726]),
            // Samples of more than 60 tokens are for all threads.
            (Replicas(count: 2, rows: 60), 1024, [55, 128, 49, 61, 99, 77, 50, 53, 64, 90]),
        ])
    func `a step is dealt to replicas where that is faster, every sample once`(replicas: Replicas, rows: Int, expected: [Int]) {
        let lengths = Self.sixteen.map(\.length)
        let groups = [SampleGroup].ofStep(replicas, rows: rows) { .whole(lengths, tokensPerBatch: $0) }
        #expect(groups.flatMap { $0.families.flatMap { $0.members.map(\.index) } }.sorted() == Array(lengths.indices))
        #expect(groups.map(\.rows) == expected)
    }

    @Test(arguments: [(20, 4), (480, 1)]) func `a long common beginning keeps a step together`(shared: Int, parts: Int) {
        let system = (0..<shared).map { Int32($0 * 7 % 150 + 3) }
        let samples = (0..<16).map { number in
            TokenSample(
                record: number, ids: system + (0..<60).map { Int32(number * 1000 + $0 + 1) }, trained: system.map { _ in false } + (0..<60).map { $0 >= 0 })
        }
        let groups = [SampleGroup].ofStep(Replicas(count: 4, rows: 512), rows: 1024) { .sharing(samples, tokensPerBatch: $0) }
        let alone = [SampleGroup].sharing(samples, tokensPerBatch: 1024)
        #expect(parts == 1 ? groups == alone : groups.count == parts)
    }

    @Test func `dropout keys belong to the record's tokens, however they are packed`() {
        func keys(epoch: Int = 0, seed: UInt64 = 1, packing: Bool = true) -> [Int: [UInt32]] {
            var result: [Int: [UInt32]] = [:]
            let lengths = Self.sixteen.map(\.length)
            for group in [SampleGroup].whole(lengths, tokensPerBatch: 300, packing: packing) {
                let batch = TokenBatch(group, seed: seed, epoch: epoch) { Self.sixteen[$0] }
                var row = 0
                for index in group.families.flatMap({ $0.members.map(\.index) }) {
                    let count = Self.sixteen[index].ids.count
                    result[index] = Array(batch.dropoutKeys[row..<row + count])
                    row += count
                }
            }
            return result
        }
        let packed = keys()
        #expect(packed == keys(packing: false))
        #expect(packed != keys(epoch: 1))
        #expect(packed != keys(seed: 2))
        let all = packed.values.flatMap { $0 }
        #expect(Set(all).count == all.count, "726 keys of 32 bits hardly ever meet")
    }

    /// A sample of a shared beginning and `count` tokens of its own, the last of which is trained.
    private static func sample(_ record: Int, beginning: [Int32], _ count: Int, trained: Bool = true) -> TokenSample {
        let ids = beginning + (0..<count).map { Int32(record * 1000 + $0 + 1) }
        return TokenSample(record: record, ids: ids, trained: ids.indices.map { trained && $0 == ids.count - 1 })
    }

    @Test func `samples of a step share what they begin with, and others fill micro-batches by first fit`() {
        let beginning = (0..<10).map { Int32(9000 + $0) }
        // The last token of each predicts nothing: 4 own rows each, and one without a loss that is left out.
        let alike = (1...3).map { Self.sample($0, beginning: beginning, 5) } + [Self.sample(4, beginning: beginning, 5, trained: false)]
        let one = [SampleGroup].sharing(alike, tokensPerBatch: 100)
        #expect(one.map(\.rows) == [22] && one[0].families.map(\.shared) == [10] && one[0].families[0].members.map(\.index) == [0, 1, 2])
        // Cut where a micro-batch is full: the beginning is in both.
        let cut = [SampleGroup].sharing(alike, tokensPerBatch: 19)
        #expect(cut.map(\.rows) == [18, 14] && cut.flatMap(\.families).map(\.shared) == [10, 10])
        // In alphabetical order 600, 600, 400 and 400 rows would make three micro-batches of which the next takes what does not fit.
        let unlike = [601, 601, 401, 401].enumerated().map { Self.sample($0.offset + 1, beginning: [], $0.element) }
        #expect([SampleGroup].sharing(unlike, tokensPerBatch: 1024).map(\.rows) == [1000, 1000])
        // Without a loss anywhere nothing can be left out.
        #expect([SampleGroup].sharing([alike[3]], tokensPerBatch: 100).map(\.rows) == [15])
    }

    @Test func `nothing gives nothing`() {
        #expect(pack(samples: [], tokensPerBatch: 10).isEmpty && [SampleGroup].sharing([], tokensPerBatch: 10).isEmpty)
    }
}
