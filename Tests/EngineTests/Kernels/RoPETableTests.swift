import Glibc
import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Tables of inverse frequencies against numbers worked out from the published formulas, and the two orders of a head's dimensions.
struct RoPETableTests {
    private func same(_ table: RoPETable, _ expected: [Double], scale: Double = 1) -> Bool {
        table.inverseFrequencies.count == expected.count && abs(Double(table.attentionScale) - scale) < 1e-7
            && zip(table.inverseFrequencies, expected).allSatisfy { abs(Double($0) - $1) < 1e-6 * $1 }
    }

    private let plain = RoPETable.frequencies(theta: 500_000, rotated: 16)

    @Test func `llama3 keeps short waves, slows long ones and blends between`() {
        let scaling = Llama3Scaling(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
        let table = RoPETable(plain.map(scaling.scaled))
        #expect(same(table, [1.0, 0.19392274, 0.03760603, 0.0072926647, 0.00052484616, 3.4281022e-05, 6.64786987e-06, 1.28917315e-06]))
    }

    @Test func `linear divides all by one factor, a tensor each by its own`() {
        #expect(same(.linear(plain, factor: 4), plain.map { $0 / 4 }))
        let factors: [Float] = [1, 1, 1.5, 2, 4, 8, 8, 8]
        #expect(same(.divided(plain, by: factors), zip(plain, factors).map { $0 / Double($1) }))
    }

    @Test func `yarn blends between whole pairs, or between parts of pairs`() {
        let whole = RoPETable.yarn(theta: 10_000, rotated: 16, .init(factor: 4, originalPositions: 64))
        #expect(same(whole, [1, 0.23717082, 0.05, 0.0079056942, 0.0025, 0.00079056942, 0.00025, 7.9056942e-05], scale: 1.138629436))
        let parts = RoPETable.yarn(theta: 1e6, rotated: 16, .init(factor: 8, originalPositions: 4096, truncates: false))
        #expect(
            same(parts, [1, 0.177827941, 0.0281120808, 0.00254728806, 0.000125, 2.22284926e-05, 3.95284708e-06, 7.02926656e-07], scale: 0.1 * log(8) + 1))
        // gpt-oss: theta 150,000, factor 32.
        let wide = RoPETable.yarn(theta: 150_000, rotated: 64, .init(factor: 32, originalPositions: 4096, truncates: false))
        let some = stride(from: 6, to: 20, by: 3).map { Double(wide.inverseFrequencies[$0]) }
        #expect(zip(some, [0.107024421, 0.0317056962, 0.00679495949, 0.0010526021, 3.83088124e-05]).allSatisfy { abs($0 - $1) < 1e-6 * $1 })
    }

    @Test func `yarn's attention scale follows from the factor, from both mscales, or is given`() {
        func scale(_ settings: RoPETable.YaRN) -> Float { RoPETable.yarn(theta: 10_000, rotated: 16, settings).attentionScale }
        #expect(abs(scale(.init(factor: 40, originalPositions: 4096)) - 1.36888795) < 1e-6)
        #expect(abs(scale(.init(factor: 40, originalPositions: 4096, mscale: 0.707, mscaleAllDimensions: 1)) - 0.921042355) < 1e-6)
        #expect(abs(scale(.init(factor: 40, originalPositions: 4096, mscale: 0.707)) - 1.36888795) < 1e-6)
        #expect(scale(.init(factor: 1, originalPositions: 4096)) == 1 && scale(.init(factor: 40, originalPositions: 4096, attentionFactor: 1.5)) == 1.5)
    }

    @Test func `longrope takes the short factors up to the original length, the long ones beyond`() {
        let (short, long): ([Float], [Float]) = ([1, 1.25, 1.5, 2], [1, 4, 16, 64])
        let frequencies = RoPETable.frequencies(theta: 10_000, rotated: 8)
        func table(attentionFactor: Double? = nil) -> RoPETable {
            .longRoPE(theta: 10_000, rotated: 8, short: short, long: long, factor: 32, originalPositions: 30, attentionFactor: attentionFactor)
        }
        #expect(same(table(), zip(frequencies, short).map { $0 / Double($1) }, scale: 1.420906484))
        let (rows, pairs) = (4, 4)
        var (cos, sin) = ([Float](repeating: 0, count: rows * pairs), [Float](repeating: 0, count: rows * pairs))
        RoPEKernels.table(table(attentionFactor: 1), positions: [7, 7, 29, 30], lengths: [30, 31, 30, 31], cos: &cos, sin: &sin, rows: rows)
        for (row, (position, factors)) in [(7.0, short), (7, long), (29, short), (30, long)].enumerated() {
            for pair in 0..<pairs {
                let angle = position * frequencies[pair] / Double(factors[pair])
                #expect(abs(Double(cos[row * pairs + pair]) - Glibc.cos(angle)) < 1e-5 && abs(Double(sin[row * pairs + pair]) - Glibc.sin(angle)) < 1e-5)
            }
        }
        #expect(table(attentionFactor: 1.1).attentionScale == 1.1)
    }

    @Test(arguments: [(16, 16), (20, 6)]) func `neighbours turn as doubles say, and back`(size: (Int, Int)) {
        let (d, rotary) = size
        let (rows, heads, pairs) = (5, 3, rotary / 2)
        let ld = (heads + 1) * d
        let start = Numbers.rounded(Numbers.noise(rows * ld, seed: 61))
        let frequencies = RoPETable(RoPETable.frequencies(theta: 100, rotated: rotary)).inverseFrequencies
        let positions: [Int32] = [0, 1, 7, 20, 3]
        var (cos, sin) = ([Float](repeating: 0, count: rows * pairs), [Float](repeating: 0, count: rows * pairs))
        RoPEKernels.table(
            RoPETable(inverseFrequencies: frequencies, attentionScale: 1), positions: positions, cos: &cos, sin: &sin, rows: rows)
        var expected = start
        for t in 0..<rows {
            for head in 0..<heads {
                for i in 0..<pairs {
                    let (angle, at) = (Double(positions[t]) * Double(frequencies[i]), t * ld + head * d + 2 * i)
                    expected[at] = start[at] * Glibc.cos(angle) - start[at + 1] * Glibc.sin(angle)
                    expected[at + 1] = start[at + 1] * Glibc.cos(angle) + start[at] * Glibc.sin(angle)
                }
            }
        }
        var x = Numbers.floats(start)
        for inverse in [false, true] {
            RoPEKernels.applyInPlace(
                &x, ld: ld, rows: rows, headCount: heads, headDimension: d, rotaryDimension: rotary, cos: cos, sin: sin, inverse: inverse,
                interleaved: true, cpu: CPU(threads: 2))
            #expect(Numbers.difference(x, inverse ? start : expected) < Numbers.tolerance)
        }
    }

    @Test func `a rotation of neighbours is left to no kernel that turns halves`() {
        let id = ValueID(index: 0)
        let halves = RoPE(joint: id, cos: id, sin: id, heads: 2, headDimension: 64, inverse: false)
        var neighbours = halves
        neighbours.interleaved = true
        #expect(halves.takesUpdate(pairs: 32) && !halves.takesUpdate(pairs: 16) && !neighbours.takesUpdate(pairs: 32))
        #expect((neighbours.renamed { $0 } as? RoPE)?.interleaved == true)
    }
}
