import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Norms of groups of columns, the residual stream's additions and the queries' factor against double precision.
struct NormRowsTests {
    struct Case: CustomTestStringConvertible {
        let rows: Int
        /// Groups and columns of each part, one behind the other from column 0.
        let parts: [(groups: Int, columns: Int)]
        var behind = 0
        var offset = 0.0
        var used: Int { parts.reduce(0) { $0 + $1.groups * $1.columns } }
        var ld: Int { used + behind }
        var groups: Int { parts.reduce(0) { $0 + $1.groups } }
        var testDescription: String { "\(rows) rows, \(parts), \(behind) behind, offset \(offset)" }
    }

    static let cases = [
        Case(rows: 1, parts: [(1, 8)]), Case(rows: 3, parts: [(3, 4), (1, 4)], behind: 4), Case(rows: 2, parts: [(2, 5), (1, 5)], behind: 3, offset: 1),
        Case(rows: 17, parts: [(1, 96), (1, 32)], behind: 32), Case(rows: 5, parts: [(4, 64), (2, 64)], behind: 128),
        Case(rows: 7, parts: [(1, 577)], offset: 1),
    ]

    /// y and, for d = dy, the gradient of sum(y * d): columns behind the parts pass both unchanged.
    static func plain(_ c: Case, _ x: [Double], _ weights: [[Double]], _ d: [Double]) -> (y: [Double], dx: [Double]) {
        var (y, dx) = (x, d)
        for row in 0..<c.rows {
            var first = row * c.ld
            for (part, weight) in zip(c.parts, weights) {
                for _ in 0..<part.groups {
                    let places = first..<first + part.columns
                    let one = ElementwiseTests.norm(
                        Array(x[places]), weight, rows: 1, epsilon: 1e-5, offset: c.offset, d: Array(d[places]))
                    y.replaceSubrange(places, with: one.y)
                    dx.replaceSubrange(places, with: one.dh)
                    first += part.columns
                }
            }
        }
        return (y, dx)
    }

    @Test(arguments: cases, [true, false]) func `a norm of groups and its gradient are those of doubles, in place and beside`(c: Case, inPlace: Bool) {
        let x = Numbers.rounded(Numbers.noise(c.rows * c.ld, seed: 31))
        let dy = Numbers.rounded(Numbers.noise(c.rows * c.ld, seed: 32))
        let weights = c.parts.enumerated().map { Numbers.rounded(Numbers.noise($1.columns, seed: UInt64(33 + $0))) }
        let expected = Self.plain(c, x, weights, dy)
        if c.rows * c.ld < 60 {
            let error = Numbers.slopeError(expected.dx, at: x) { zip(Self.plain(c, $0, weights, dy).y, dy).reduce(0) { $0 + $1.0 * $1.1 } }
            #expect(error < Numbers.slopeTolerance)
        }
        var (input, gradient) = (Numbers.floats(x), Numbers.floats(dy))
        var (y, dx) = (input, gradient)
        var kept = [Float](repeating: 9, count: c.rows * c.used)
        var inverse = [Float](repeating: 9, count: c.rows * c.groups)
        let cpu = CPU(threads: 2)
        let buffers = weights.map { Numbers.floats($0) }
        var pointers: [UnsafeMutablePointer<Float>] = []
        var (parts, first): ([NormRowsKernels.Part], Int) = ([], 0)
        for (part, weight) in zip(c.parts, buffers) {
            let copy = UnsafeMutablePointer<Float>.allocate(capacity: weight.count)
            copy.update(from: weight, count: weight.count)
            pointers.append(copy)
            parts.append(NormRowsKernels.Part(weight: copy, firstColumn: first, groups: part.groups, columns: part.columns))
            first += part.groups * part.columns
        }
        defer { for pointer in pointers { pointer.deallocate() } }
        func rows(_ p: UnsafeMutableBufferPointer<Float>, _ ld: Int) throws -> NormRowsKernels.Rows { .init(try #require(p.baseAddress), ld: ld) }
        #expect(throws: Never.self) {
            try input.withUnsafeMutableBufferPointer { input in
                try y.withUnsafeMutableBufferPointer { y in
                    try kept.withUnsafeMutableBufferPointer { kept in
                        NormRowsKernels.forward(
                            try rows(input, c.ld), into: try rows(inPlace ? input : y, c.ld), kept: try rows(kept, c.used), inverseRMS: &inverse,
                            parts: parts, epsilon: 1e-5, weightOffset: Float(c.offset), rows: c.rows, cpu: cpu)
                    }
                }
            }
            try gradient.withUnsafeMutableBufferPointer { gradient in
                try dx.withUnsafeMutableBufferPointer { dx in
                    try kept.withUnsafeMutableBufferPointer { kept in
                        NormRowsKernels.backward(
                            dy: try rows(gradient, c.ld), x: try rows(kept, c.used), inverseRMS: inverse,
                            dx: try rows(inPlace ? gradient : dx, c.ld), parts: parts, weightOffset: Float(c.offset), rows: c.rows, cpu: cpu)
                    }
                }
            }
        }
        #expect(Numbers.difference(inPlace ? input : y, expected.y) < Numbers.tolerance)
        #expect(Numbers.difference(inPlace ? gradient : dx, expected.dx) < Numbers.tolerance)
        for row in 0..<c.rows { #expect(Array(kept[row * c.used..<(row + 1) * c.used]) == Numbers.floats(Array(x[row * c.ld..<row * c.ld + c.used]))) }
    }

    @Test func `a residual multiplier scales what is added and what goes back to it`() {
        let (rows, c, scale) = (3, 13, Float(0.22))
        let numbers = (0..<5).map { Numbers.rounded(Numbers.noise(rows * c, seed: UInt64(40 + $0))) }
        let (x, delta, dy, residualGradient) = (numbers[0], numbers[1], numbers[2], numbers[3])
        let w = Array(numbers[4][..<c])
        let h = zip(x, delta).map { $0 + Double(scale) * $1 }
        let expected = ElementwiseTests.norm(h, w, rows: rows, epsilon: 1e-5, offset: 0, d: dy)
        var (sum, y, dx, dDelta) = (
            [Float](repeating: 9, count: rows * c), [Float](repeating: 9, count: rows * c), [Float](repeating: 9, count: rows * c),
            [Float](repeating: 9, count: rows * c)
        )
        var inverse = [Float](repeating: 9, count: rows)
        let cpu = CPU(threads: 2)
        RMSNormKernels.forward(
            x: Numbers.floats(x), delta: Numbers.floats(delta), deltaScale: scale, weight: Numbers.floats(w), epsilon: 1e-5, weightOffset: 0, hOut: &sum,
            y: &y, inverseRMS: &inverse, rows: rows, columns: c, cpu: cpu)
        RMSNormKernels.backward(
            dy: Numbers.floats(dy), h: sum, inverseRMS: inverse, weight: Numbers.floats(w), weightOffset: 0, dResidual: Numbers.floats(residualGradient),
            dx: &dx,
            dDelta: &dDelta, deltaScale: scale, rows: rows, columns: c, cpu: cpu)
        let dh = zip(expected.dh, residualGradient).map { $0 + $1 }
        #expect(Numbers.difference(sum, h) < Numbers.tolerance && Numbers.difference(y, expected.y) < Numbers.tolerance)
        #expect(Numbers.difference(dx, dh) < Numbers.tolerance && Numbers.difference(dDelta, dh.map { $0 * Double(scale) }) < Numbers.tolerance)
    }

    @Test func `a query's factor is one plus beta times the logarithm of whole contexts`() {
        // Ministral 3's numbers: 1 below 16,384, 1.0693 from there, 1.2197 at 131,072; and counted from 1.
        let positions: [Int32] = [0, 16_383, 16_384, 40_000, 131_072]
        let expected: [Double] = [1, 1, 1.0693147, 1.1098612, 1.2197225]
        for offset in [0, 1] {
            var x = [Float](repeating: 2, count: 5 * 12)
            let scale = QueryScale(joint: ValueID(index: 0), positions: ValueID(index: 1), columns: 9, beta: 0.1, original: 16_384, offset: offset)
            QueryScaleKernels.applyInPlace(&x, ld: 12, positions: positions, rows: 5, scale: scale, cpu: CPU(threads: 2))
            for row in 0..<5 {
                let factor = offset == 1 && row == 1 ? expected[2] : expected[row]
                #expect(
                    x[row * 12..<row * 12 + 9].allSatisfy { abs(Double($0) - 2 * factor) < 1e-6 } && x[row * 12 + 9..<(row + 1) * 12].allSatisfy { $0 == 2 })
            }
        }
    }
}
