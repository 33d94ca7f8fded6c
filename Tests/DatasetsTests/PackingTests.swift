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
}

/// Which samples share a micro-batch.
struct PackingTests {
    private static let sixteen = [45, 7, 128, 30, 61, 2, 99, 14, 77, 1, 50, 33, 20, 64, 5, 90]

    @Test(arguments: [128, 200, 1000, 64, 1, 100]) func `every sample is in one batch, and no batch is larger than allowed`(tokensPerBatch: Int) {
        let groups = packedGroups(lengths: Self.sixteen, tokensPerBatch: tokensPerBatch)
        #expect(groups.flatMap { $0 }.sorted() == Array(Self.sixteen.indices))
        for group in groups { #expect(group.count == 1 || group.reduce(0) { $0 + Self.sixteen[$1] } <= tokensPerBatch) }
    }

    @Test func `without packing every sample has a batch of its own`() {
        #expect(packedGroups(lengths: Self.sixteen, tokensPerBatch: 1000, packing: false) == Self.sixteen.indices.map { [$0] })
    }

    @Test func `the first batch with room takes the next sample`() {
        #expect(packedGroups(lengths: [60, 60, 30, 40], tokensPerBatch: 100) == [[0, 2], [1, 3]])
    }

    @Test func `nothing gives nothing`() {
        #expect(packedGroups(lengths: [], tokensPerBatch: 10).isEmpty && packedGroups(lengths: [0], tokensPerBatch: 10).isEmpty)
    }
}
