import Glibc
import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Where kernels break first: numbers that are none, extremes, parts of wider buffers, and masks that a resumed run has to meet again.
struct EdgeTests {
    let cpu = CPU(threads: 2)

    // MARK: numbers that are none

    @Test func `a NaN stays one through exponential, tangent and every activation`() {
        var x = SIMD8<Float>(repeating: 0.5)
        x[3] = .nan
        for y in [exponential(x), hyperbolicTangent(x)] { #expect(y[3].isNaN && (0..<8).allSatisfy { $0 == 3 || y[$0].isFinite }) }
        for kind in [Activation.silu, .gelu, .geluTanh] {
            var out: [Float] = [0]
            GatedActivationKernels.forward(gateUp: [.nan, 1], out: &out, rows: 1, columns: 1, activation: kind, cpu: cpu)
            #expect(out[0].isNaN)
        }
    }

    @Test(arguments: [Float?.none, 3], [false, true]) func `a NaN among the logits is a NaN in the loss`(cap: Float?, gradient: Bool) {
        var logits = Numbers.floats(Numbers.noise(2 * 101, seed: 81))
        logits[17] = .nan
        let results = CrossEntropyKernels.run(
            logits: &logits, rows: 2, vocabulary: 101, targets: [5, 6], weights: [1, 1], gradientInPlace: gradient, softCap: cap, cpu: cpu)
        #expect(results[0].isNaN && results[1].isFinite)
    }

    @Test func `a NaN in a key reaches the rows that see it`() {
        let shape = AttentionShape(heads: 1, keyValueHeads: 1, headDimension: 8, scale: 0.3)
        let rows = 5
        var joint = Numbers.floats(Numbers.noise(rows * shape.jointColumns, seed: 82))
        joint[2 * shape.jointColumns + 8] = .nan
        var (out, logSumExp) = ([Float](repeating: 0, count: rows * 8), [Float](repeating: 0, count: rows))
        var scratch = [Float](repeating: 0, count: 2 * AttentionKernels.scratchFloats(rows: rows, shape: shape))
        AttentionSegments.with(starts: [0, 0, 0, 0, 0], parents: Array(repeating: -1, count: rows)) { segments in
            AttentionKernels.forward(joint: joint, segments: segments, out: &out, logSumExp: &logSumExp, scratch: &scratch, shape: shape, cpu: cpu)
        }
        #expect(out[..<16].allSatisfy { $0.isFinite } && out[16...].allSatisfy { $0.isNaN })
        #expect(logSumExp[..<2].allSatisfy { $0.isFinite } && logSumExp[2...].allSatisfy { $0.isNaN })
    }

    // MARK: extremes

    @Test func `logits of ten thousand give a finite loss and gradient`() {
        for offset in [Float(-10_000), 0, 10_000] {
            var logits: [Float] = [offset, offset + 3, offset - 200, offset + 1, offset - 1]
            let expected = 3 - log(exp(0.0) + exp(3.0) + exp(1.0) + exp(-1.0))
            let result = CrossEntropyKernels.run(
                logits: &logits, rows: 1, vocabulary: 5, targets: [1], weights: [2], gradientInPlace: true, softCap: nil, cpu: cpu)
            // One unit in the last place of 10,000 is 0.001.
            #expect(abs(Double(result[0]) - expected) < (offset == 0 ? 1e-6 : 2e-3))
            #expect(abs(Double(logits[1]) - 2 * (exp(expected) - 1)) < 1e-6 && logits[2] == 0 && abs(logits.reduce(0, +)) < 1e-6)
        }
    }

    @Test(arguments: [Activation.silu, .gelu, .geluTanh]) func `an activation far from zero is its argument or nothing`(kind: Activation) {
        let gates: [Float] = [-1e4, -100, 0, 100, 1e4]
        var out = [Float](repeating: 9, count: 5)
        var gradient = [Float](repeating: 9, count: 10)
        let joint = gates + [Float](repeating: 2, count: 5)
        GatedActivationKernels.forward(gateUp: joint, out: &out, rows: 1, columns: 5, activation: kind, cpu: cpu)
        GatedActivationKernels.backward(
            dOut: [Float](repeating: 1, count: 5), gateUp: joint, dGateUp: &gradient, rows: 1, columns: 5, activation: kind, cpu: cpu)
        for (value, expected) in zip(out, [0, 0, 0, 200, 2e4] as [Float]) { #expect(abs(value - expected) < 1e-30) }
        for (value, expected) in zip(gradient, [0, 0, 1, 2, 2] as [Float]) { #expect(abs(value - expected) < 1e-30) }
    }

    @Test func `a norm of zeros is zero, and its gradient finite`() {
        var (y, dx) = ([Float](repeating: 9, count: 26), [Float](repeating: 9, count: 26))
        var inverse: [Float] = [0, 0]
        let ones = [Float](repeating: 1, count: 13)
        let zeros = [Float](repeating: 0, count: 26)
        RMSNormKernels.forward(
            x: zeros, delta: nil, weight: ones, epsilon: 1e-5, weightOffset: 0, hOut: nil, y: &y, inverseRMS: &inverse, rows: 2, columns: 13, cpu: cpu)
        RMSNormKernels.backward(
            dy: ones + ones, h: zeros, inverseRMS: inverse, weight: ones, weightOffset: 0, dResidual: nil, dx: &dx, rows: 2, columns: 13, cpu: cpu)
        #expect(y == zeros && dx.allSatisfy { abs($0 - 316.2278) < 1e-3 })
    }

    // MARK: parts of wider buffers

    @Test(arguments: [(16, 8), (20, 20), (80, 32)], [Float(1), 1.4]) func `a partial rotation is that of doubles and its inverse the adjoint`(
        size: (Int, Int), attentionScale: Float
    ) {
        let (d, rotary) = size
        let (rows, heads, half) = (5, 3, rotary / 2)
        let ld = (heads + 1) * d
        let start = Numbers.rounded(Numbers.noise(rows * ld, seed: 83))
        let frequencies = (0..<half).map { Float(pow(500, -Double($0) / Double(half))) }
        let positions: [Int32] = [0, 1, 40, 900, 7]
        var (cos, sin) = ([Float](repeating: 0, count: rows * half), [Float](repeating: 0, count: rows * half))
        RoPEKernels.table(
            RoPETable(inverseFrequencies: frequencies, attentionScale: attentionScale), positions: positions, cos: &cos, sin: &sin, rows: rows)
        func rotate(_ x: [Double], inverse: Bool) -> [Float] {
            var x = Numbers.floats(x)
            RoPEKernels.applyInPlace(
                &x, ld: ld, rows: rows, headCount: heads, headDimension: d, rotaryDimension: rotary, cos: cos, sin: sin, inverse: inverse, cpu: cpu)
            return x
        }
        var expected = start
        for t in 0..<rows {
            for head in 0..<heads {
                for i in 0..<half {
                    let angle = Double(Float(positions[t]) * frequencies[i])
                    let (a, b) = (t * ld + head * d + i, t * ld + head * d + i + half)
                    let (c, s) = (Double(attentionScale) * Glibc.cos(angle), Double(attentionScale) * Glibc.sin(angle))
                    (expected[a], expected[b]) = (start[a] * c - start[b] * s, start[b] * c + start[a] * s)
                }
            }
        }
        let rotated = rotate(start, inverse: false)
        #expect(Numbers.difference(rotated, expected) < Numbers.tolerance)
        // <R x, y> = <x, Rᵀ y>
        let y = Numbers.rounded(Numbers.noise(rows * ld, seed: 84))
        let back = rotate(y, inverse: true)
        let (left, right) = (zip(rotated, y).reduce(0.0) { $0 + Double($1.0) * $1.1 }, zip(start, back).reduce(0.0) { $0 + $1.0 * Double($1.1) })
        #expect(abs(left - right) < 1e-4 * max(1, abs(left)))
    }

    @Test(arguments: [1, 3, 64]) func `an adapter inside a joint buffer leaves its neighbours alone`(rank: Int) {
        let (t, n, ld, first) = (33, 40, 100, 30)
        let (product, b) = (Numbers.rounded(Numbers.noise(t * rank, seed: 85)), Numbers.rounded(Numbers.noise(n * rank, seed: 86)))
        let start = Numbers.rounded(Numbers.noise(t * ld, seed: 87))
        var expected = start
        var (dB, dP) = ([Double](repeating: 0, count: n * rank), [Double](repeating: 0, count: t * rank))
        for row in 0..<t {
            for column in 0..<n {
                let dy = start[row * ld + first + column]
                for r in 0..<rank {
                    expected[row * ld + first + column] += 0.5 * product[row * rank + r] * b[column * rank + r]
                    dB[column * rank + r] += 0.5 * dy * product[row * rank + r]
                    dP[row * rank + r] += 0.5 * dy * b[column * rank + r]
                }
            }
        }
        var y = Numbers.floats(start)
        var (gB, gP) = ([Float](repeating: 0, count: n * rank), [Float](repeating: .nan, count: t * rank))
        y.withUnsafeMutableBufferPointer { y in
            guard let base = y.baseAddress else { return }
            LoRAKernels.backwardUp(
                dy: base + first, ldy: ld, product: Numbers.floats(product), ldp: rank, b: Numbers.floats(b), scale: 0.5, dB: &gB, dProduct: &gP, rows: t,
                outputs: n, rank: rank, cpu: cpu)
            LoRAKernels.addUp(
                product: Numbers.floats(product), ldp: rank, b: Numbers.floats(b), scale: 0.5, y: base + first, ldy: ld, rows: t, outputs: n, rank: rank,
                cpu: cpu)
        }
        #expect(Numbers.difference(y, expected) < Numbers.tolerance)
        #expect((0..<t * ld).allSatisfy { (first..<first + n).contains($0 % ld) || Double(y[$0]) == start[$0] })
        #expect(Numbers.difference(gB, dB) < Numbers.tolerance && Numbers.difference(gP, dP) < Numbers.tolerance)
    }

    @Test(arguments: [(16, Int?.none, Float?.none), (80, 6, nil), (12, nil, 2), (40, 5, 1.5)])
    func `rows of several slots see their own slot only`(d: Int, window: Int?, cap: Float?) {
        let shape = AttentionShape(heads: 4, keyValueHeads: 2, headDimension: d, scale: 0.25, window: window, softCap: cap)
        let (slots, length, wide) = (3, 11, 4 * d)
        let cached = Numbers.rounded(Numbers.noise(slots * length * wide, seed: 88))
        var cache = Numbers.floats(cached)
        let rows: [(slot: Int32, position: Int32)] = [(2, 0), (0, 10), (1, 6)]
        let joint = Numbers.rounded(Numbers.noise(rows.count * shape.jointColumns, seed: 89))
        var out = [Float](repeating: .nan, count: rows.count * 4 * d)
        var scratch = [Float](repeating: .nan, count: cpu.threads * length)
        CachedAttentionKernels.run(
            joint: Numbers.floats(joint), slots: rows.map(\.slot), positions: rows.map(\.position), cache: &cache, maximumPositions: length, out: &out,
            scratch: &scratch, rows: rows.count, shape: shape, cpu: cpu)
        for (row, place) in rows.enumerated() {
            // The same as a segment of its own: the slot's keys and values with this row's at the end, queries but the last unused.
            let last = Int(place.position)
            let c = AttentionTests.Case(segments: [last + 1], heads: 4, keyValueHeads: 2, d: d, window: window, cap: cap)
            var alone = [Double](repeating: 0, count: (last + 1) * shape.jointColumns)
            for position in 0...last {
                let from = (Int(place.slot) * length + position) * wide
                alone.replaceSubrange(position * shape.jointColumns + 4 * d..<(position + 1) * shape.jointColumns, with: cached[from..<from + wide])
            }
            let own = joint[row * shape.jointColumns..<(row + 1) * shape.jointColumns]
            alone.replaceSubrange(last * shape.jointColumns..<(last + 1) * shape.jointColumns, with: own)
            let expected = Self.attention(c, alone, scale: 0.25).suffix(4 * d)
            #expect(Numbers.difference(Array(out[row * 4 * d..<(row + 1) * 4 * d]), Array(expected)) < Numbers.tolerance)
            // What was written is this row's k and v; everything else is as before.
            let to = (Int(place.slot) * length + last) * wide
            #expect(Array(cache[to..<to + wide]) == Numbers.floats(Array(own.suffix(wide))))
        }
    }

    /// `AttentionTests.plain` scales by 1/sqrt(d); queries times sqrt(d) * scale give any other.
    private static func attention(_ c: AttentionTests.Case, _ joint: [Double], scale: Double) -> [Double] {
        let factor = scale / Double(c.shape.scale)
        let columns = c.shape.jointColumns
        let scaled = joint.indices.map { $0 % columns < c.heads * c.d ? joint[$0] * factor : joint[$0] }
        return AttentionTests.plain(c, scaled, dOut: nil).out
    }

    // MARK: dropout

    /// The mask as the documentation says it, one element at a time.
    private func kept(key: Int32, module: Int, column: Int, threshold: UInt32) -> Bool {
        func hash(_ value: UInt32) -> UInt32 {
            var x = value
            x ^= x >> 16
            x = x &* 0x21F0_AAAD
            x ^= x >> 15
            x = x &* 0x735A_2D97
            return x ^ (x >> 15)
        }
        let seed = hash(UInt32(bitPattern: key) &+ UInt32(module) &* 0x85EB_CA6B)
        let bits = hash(seed &+ UInt32(column / 16 * 8 + column % 8) &* 0x9E37_79B9)
        return (column % 16 < 8 ? bits & 0xFFFF : bits >> 16) >= threshold
    }

    @Test(arguments: [1, 7, 9, 15, 16, 17, 31, 40, 576]) func `a mask is bit for bit the documented one, in place too`(columns: Int) {
        let keys: [Int32] = [0, -1, 77, .max]
        let x = Numbers.floats(Numbers.noise(keys.count * columns, seed: 90))
        for probability in [Float(0), 0.05, 0.5, 0.999] {
            let threshold = DropoutKernels.threshold(probability)
            let scale = 65536 / Float(65536 - threshold)
            let expected = x.indices.map { kept(key: keys[$0 / columns], module: 5, column: $0 % columns, threshold: threshold) ? x[$0] * scale : 0 }
            var out = [Float](repeating: .nan, count: x.count)
            DropoutKernels.apply(x: x, keys: keys, module: 5, probability: probability, out: &out, rows: 4, columns: columns, cpu: cpu)
            #expect(out == expected)
            if probability == 0 { #expect(out == x) }
            out.withUnsafeMutableBufferPointer { out in
                guard let base = out.baseAddress else { return }
                base.update(from: x, count: x.count)
                DropoutKernels.apply(x: base, keys: keys, module: 5, probability: probability, out: base, rows: 4, columns: columns, cpu: cpu)
            }
            #expect(out == expected)
        }
    }

    // MARK: any number of threads

    @Test func `an optimiser step has the same bits on any number of threads`() {
        let count = 1013
        var runs: [[[Float]]] = []
        for threads in [1, 2, 5] {
            var (p, m, v) = (
                Numbers.floats(Numbers.noise(count, seed: 91)), Numbers.floats(Numbers.noise(count, seed: 92)),
                Numbers.floats(Numbers.noise(count, seed: 93)).map { abs($0) }
            )
            let settings = AdamWSettings(weightDecay: 0.1)
            let n = settings.numbers(learningRate: 1e-2, update: 3)
            AdamWKernels.step(
                values: &p, gradients: Numbers.floats(Numbers.noise(count, seed: 94)), firstMoment: &m, secondMoment: &v, count: count,
                numbers: (n[0], n[1], n[2], 0.5), settings: settings, cpu: CPU(threads: threads))
            runs.append([p, m, v])
        }
        #expect(runs[1] == runs[0] && runs[2] == runs[0])
    }
}
