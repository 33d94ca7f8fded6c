import LorikeetDevices
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// Values on the grid of a 4-bit block that no training moved. Those that training moved: Tests/DeliveryTests/TrainedBaseTests.swift.
struct GridRoundingTests {
    private let encoding = EncodingTests()

    private func written(_ values: [Float], _ format: BlockFormat) throws -> [Float] {
        try encoding.expand(#require(try encoding.bytes(values, format)), format, count: values.count)
    }

    private static let holders: [(BlockFormat, BlockFormat)] = [(.q4_0, .q4_0), (.q4_0, .q8_0), (.q4_1, .q4_1), (.q6_K, .q6_K)]

    @Test(arguments: holders)
    func `a base that was not trained keeps its values`(base format: BlockFormat, written form: BlockFormat) throws {
        let parts = noise(4 * 16_384)
        let base = try written((0..<16_384).map { i in parts[4 * i..<4 * i + 4].reduce(0, +) / 4 }, format)
        let largest = base.reduce(0) { max($0, abs($1)) }
        #expect(try zip(base, written(base, form)).allSatisfy { abs($0 - $1) < 1e-3 * largest })
    }

    private func isMoved(_ values: [Float]) -> Bool {
        values.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { WeightedGroup($0, $0, buffer.count).formerGrid != nil } ?? false
        }
    }

    /// Sums of four evenly distributed values have no grid: not one of 8192 groups looks like one that was moved off it.
    @Test func `only values near a grid of 4 bits count as moved off it`() throws {
        let parts = noise(4 * 262_144)
        let values = (0..<262_144).map { i in parts[4 * i..<4 * i + 4].reduce(0, +) / 4 }
        #expect(!stride(from: 0, to: values.count, by: 32).contains { isMoved([Float](values[$0..<$0 + 32])) })
        let base = try written(values, .q4_1)
        let moved = zip(base, noise(values.count, seed: 7)).map { $0 + 0.002 * $1 }
        let count = stride(from: 0, to: values.count, by: 32).count { isMoved([Float](moved[$0..<$0 + 32])) }
        #expect(count > 8000, "\(count) of 8192")
        #expect(!stride(from: 0, to: values.count, by: 32).contains { isMoved([Float](base[$0..<$0 + 32])) })
    }
}
