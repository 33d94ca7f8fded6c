import Glibc
import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Norms, rotations, activations, exponentials and dropout against double precision.
struct ElementwiseTests {
    let cpu = CPU(threads: 2)

    // MARK: RMSNorm

    /// y and, for d = dy, the gradient of sum(y * d) with respect to h.
    static func norm(_ h: [Double], _ w: [Double], rows: Int, epsilon: Double, offset: Double, d: [Double]) -> (y: [Double], dh: [Double]) {
        let c = w.count
        var (y, dh) = (h, h)
        for row in 0..<rows {
            let x = h[row * c..<(row + 1) * c].map { $0 }
            let r = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(c) + epsilon).squareRoot()
            let g = (0..<c).map { d[row * c + $0] * (w[$0] + offset) }
            let mean = zip(g, x).reduce(0) { $0 + $1.0 * $1.1 } / Double(c)
            for i in 0..<c {
                y[row * c + i] = x[i] * r * (w[i] + offset)
                dh[row * c + i] = r * (g[i] - x[i] * r * r * mean)
            }
        }
        return (y, dh)
    }

    @Test(arguments: [(1, 8), (7, 13), (33, 576), (5, 1)], [0.0, 1.0])
    func `a norm and its gradient are those of doubles`(size: (Int, Int), offset: Double) {
        let (rows, c) = size
        let x = Numbers.rounded(Numbers.noise(rows * c, seed: 1))
        let delta = Numbers.rounded(Numbers.noise(rows * c, seed: 2))
        let w = Numbers.rounded(Numbers.noise(c, seed: 3))
        let dy = Numbers.rounded(Numbers.noise(rows * c, seed: 4))
        let residualGradient = Numbers.rounded(Numbers.noise(rows * c, seed: 5))
        let h = zip(x, delta).map { Double(Float($0) + Float($1)) }
        let expected = Self.norm(h, w, rows: rows, epsilon: 1e-5, offset: offset, d: dy)
        if rows * c < 100 {
            let error = Numbers.slopeError(expected.dh, at: h) { h in
                zip(Self.norm(h, w, rows: rows, epsilon: 1e-5, offset: offset, d: dy).y, dy).reduce(0) { $0 + $1.0 * $1.1 }
            }
            #expect(error < Numbers.slopeTolerance)
        }
        var (sum, y, again, dx) = (
            [Float](repeating: 0, count: rows * c), [Float](repeating: 0, count: rows * c), [Float](repeating: 0, count: rows * c),
            [Float](repeating: 0, count: rows * c)
        )
        var inverse = [Float](repeating: 0, count: rows)
        let weight = Numbers.floats(w)
        RMSNormKernels.forward(
            x: Numbers.floats(x), delta: Numbers.floats(delta), weight: weight, epsilon: 1e-5, weightOffset: Float(offset), hOut: &sum, y: &y,
            inverseRMS: &inverse, rows: rows, columns: c, cpu: cpu)
        RMSNormKernels.recompute(h: sum, inverseRMS: inverse, weight: weight, weightOffset: Float(offset), y: &again, rows: rows, columns: c, cpu: cpu)
        RMSNormKernels.backward(
            dy: Numbers.floats(dy), h: sum, inverseRMS: inverse, weight: weight, weightOffset: Float(offset), dResidual: Numbers.floats(residualGradient),
            dx: &dx, rows: rows, columns: c, cpu: cpu)
        #expect(Numbers.difference(y, expected.y) < Numbers.tolerance && again == y)
        #expect(Numbers.difference(dx, zip(expected.dh, residualGradient).map { $0 + $1 }) < Numbers.tolerance)
    }

    // MARK: RoPE

    @Test(arguments: [(1, 1, 16), (7, 3, 64), (5, 2, 80)]) func `a rotation is that of doubles, and its inverse undoes it`(size: (Int, Int, Int)) {
        let (rows, heads, d) = size
        let ld = heads * d + 3
        let start = Numbers.rounded(Numbers.noise(rows * ld, seed: 8))
        let frequencies = (0..<d / 2).map { Float(1 / pow(10000, Double(2 * $0) / Double(d))) }
        let positions = (0..<rows).map { Int32($0 * 37) }
        var cos = [Float](repeating: 0, count: rows * d / 2)
        var sin = cos
        RoPEKernels.table(
            RoPETable(inverseFrequencies: frequencies, attentionScale: 1), positions: positions, cos: &cos, sin: &sin, rows: rows)
        var expected = start
        for t in 0..<rows {
            for head in 0..<heads {
                for i in 0..<d / 2 {
                    let angle = Double(Float(positions[t]) * frequencies[i])
                    let (a, b) = (t * ld + head * d + i, t * ld + head * d + i + d / 2)
                    expected[a] = start[a] * Glibc.cos(angle) - start[b] * Glibc.sin(angle)
                    expected[b] = start[b] * Glibc.cos(angle) + start[a] * Glibc.sin(angle)
                }
            }
        }
        var x = Numbers.floats(start)
        func rotate(_ inverse: Bool) {
            RoPEKernels.applyInPlace(
                &x, ld: ld, rows: rows, headCount: heads, headDimension: d, rotaryDimension: d, cos: cos, sin: sin, inverse: inverse, cpu: cpu)
        }
        rotate(false)
        #expect(Numbers.difference(x, expected) < Numbers.tolerance)
        rotate(true)
        #expect(Numbers.difference(x, start) < Numbers.tolerance)
    }

    // MARK: gated activation

    static func activation(_ x: Double, _ kind: Activation) -> Double {
        switch kind {
        case .silu: x / (1 + exp(-x))
        case .gelu: 0.5 * x * (1 + erf(x / 2.0.squareRoot()))
        case .geluTanh: 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        }
    }

    @Test(arguments: [(1, 1), (7, 13), (33, 40)], [Activation.silu, .gelu, .geluTanh])
    func `a gated activation and its gradient are those of doubles`(size: (Int, Int), kind: Activation) {
        let (rows, f) = size
        let joint = Numbers.rounded(Numbers.noise(rows * 2 * f, seed: 11, scale: 6))
        let dOut = Numbers.rounded(Numbers.noise(rows * f, seed: 12))
        func forward(_ joint: [Double]) -> [Double] {
            (0..<rows * f).map { Self.activation(joint[$0 / f * 2 * f + $0 % f], kind) * joint[$0 / f * 2 * f + f + $0 % f] }
        }
        var gradient = [Double](repeating: 0, count: rows * 2 * f)
        for i in 0..<rows * f {
            let (gate, up) = (i / f * 2 * f + i % f, i / f * 2 * f + f + i % f)
            let slope = (Self.activation(joint[gate] + 1e-6, kind) - Self.activation(joint[gate] - 1e-6, kind)) / 2e-6
            gradient[gate] = dOut[i] * joint[up] * slope
            gradient[up] = dOut[i] * Self.activation(joint[gate], kind)
        }
        var (out, dJoint) = ([Float](repeating: 0, count: rows * f), [Float](repeating: 0, count: rows * 2 * f))
        GatedActivationKernels.forward(gateUp: Numbers.floats(joint), out: &out, rows: rows, columns: f, activation: kind, cpu: cpu)
        GatedActivationKernels.backward(
            dOut: Numbers.floats(dOut), gateUp: Numbers.floats(joint), dGateUp: &dJoint, rows: rows, columns: f, activation: kind, cpu: cpu)
        #expect(Numbers.difference(out, forward(joint)) < Numbers.tolerance)
        #expect(Numbers.difference(dJoint, gradient) < Numbers.tolerance)
    }

    // MARK: exponential

    @Test func `the exponential stays within two units in the last place and ends at zero`() {
        var worst = 0.0
        for i in 0..<200_000 {
            let x = Float(-87 + 175 * Double(i) / 200_000)
            let exact = exp(Double(x))
            worst = maximumOrNaN(worst, abs(Double(exponential(SIMD8(repeating: x))[3]) - exact) / Double(Float(exact).ulp))
        }
        #expect(worst <= 2, "\(worst)")
        #expect(exponential(SIMD8(repeating: -.infinity)) == SIMD8(repeating: 0) && exponential(SIMD8(repeating: -100))[0] == 0)
        #expect(exponential(SIMD8(repeating: 0))[0] == 1)
        #expect(abs(hyperbolicTangent(SIMD8(repeating: 0.7))[0] - Float(tanh(0.7))) < 1e-6 && hyperbolicTangent(SIMD8(repeating: 30))[0] == 1)
    }

    // MARK: dropout

    private func mask(keys: [Int32], module: Int, columns: Int, probability: Float = 0.25) -> [Float] {
        var out = [Float](repeating: 0, count: keys.count * columns)
        DropoutKernels.apply(
            x: [Float](repeating: 1, count: out.count), keys: keys, module: module, probability: probability, out: &out, rows: keys.count,
            columns: columns, cpu: cpu)
        return out
    }

    @Test(arguments: [1, 8, 13, 16, 576]) func `a mask is a function of key, module and column, whatever the row`(columns: Int) {
        let keys: [Int32] = [5, -9, 12345, 7]
        let all = mask(keys: keys, module: 3, columns: columns)
        for (row, key) in keys.enumerated() {
            #expect(mask(keys: [key], module: 3, columns: columns) == Array(all[row * columns..<(row + 1) * columns]))
        }
        var added = [Float](repeating: 2, count: all.count)
        DropoutKernels.applyAdd(
            x: [Float](repeating: 1, count: all.count), keys: keys, module: 3, probability: 0.25, out: &added, rows: keys.count, columns: columns, cpu: cpu)
        #expect(added == all.map { $0 + 2 })
    }

    @Test func `the kept share and the scale are those of the probability, and modules differ`() {
        let keys = (0..<400).map { Int32($0) }
        for probability in [Float(0.05), 0.5] {
            let values = mask(keys: keys, module: 1, columns: 576, probability: probability)
            let dropped = Double(values.count { $0 == 0 }) / Double(values.count)
            // 230,400 draws: five standard deviations are 0.0052 at one half.
            #expect(abs(dropped - Double(probability)) < 0.0053)
            #expect(Set(values.filter { $0 != 0 }).count == 1 && abs(values.reduce(0, +) / Float(values.count) - 1) < 0.012)
        }
        let (one, two) = (mask(keys: keys, module: 1, columns: 64), mask(keys: keys, module: 2, columns: 64))
        let same = Double(zip(one, two).count { $0 == $1 }) / Double(one.count)
        let independent = 0.75 * 0.75 + 0.25 * 0.25
        #expect(abs(same - independent) < 0.02)
    }
}
