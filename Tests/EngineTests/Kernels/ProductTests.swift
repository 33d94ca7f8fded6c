import Glibc
import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Cross-entropy, the adapter's small products, and the optimiser against double precision.
struct ProductTests {
    let cpu = CPU(threads: 2)

    // MARK: cross-entropy

    @Test(arguments: [(1, 3), (7, 101), (3, 5000)], [Float?.none, 2.5])
    func `cross-entropy and its gradient are those of doubles`(size: (Int, Int), cap: Float?) {
        let (rows, vocabulary) = size
        let logits = Numbers.rounded(Numbers.noise(rows * vocabulary, seed: 31, scale: 8))
        let targets = (0..<rows).map { Int32(($0 * 37 + 2) % vocabulary) }
        let weights = (0..<rows).map { Float($0 + 1) / 8 }
        func loss(_ z: [Double]) -> [Double] {
            (0..<rows).map { row in
                let capped = z[row * vocabulary..<(row + 1) * vocabulary].map { value in cap.map { Double($0) * tanh(value / Double($0)) } ?? value }
                return capped[Int(targets[row])] - log(capped.reduce(0) { $0 + exp($1) })
            }
        }
        let expected = loss(logits)
        var gradient = [Double](repeating: 0, count: logits.count)
        for row in 0..<rows {
            let z = logits[row * vocabulary..<(row + 1) * vocabulary].map { $0 }
            let capped = z.map { value in cap.map { Double($0) * tanh(value / Double($0)) } ?? value }
            let sum = capped.reduce(0) { $0 + exp($1) }
            for v in 0..<vocabulary {
                let slope = cap.map { 1 - pow(tanh(z[v] / Double($0)), 2) } ?? 1
                gradient[row * vocabulary + v] = Double(weights[row]) * (exp(capped[v]) / sum - (v == Int(targets[row]) ? 1 : 0)) * slope
            }
        }
        if logits.count < 800 {
            let error = Numbers.slopeError(gradient, at: logits) { -zip(loss($0), weights).reduce(0) { $0 + $1.0 * Double($1.1) } }
            #expect(error < Numbers.slopeTolerance)
        }
        for inPlace in [false, true] {
            var z = Numbers.floats(logits)
            let results = CrossEntropyKernels.run(
                logits: &z, rows: rows, vocabulary: vocabulary, targets: targets, weights: weights, gradientInPlace: inPlace, softCap: cap, cpu: cpu)
            #expect(Numbers.difference(results, expected) < 1e-6)
            if inPlace { #expect(Numbers.difference(z, gradient) < Numbers.tolerance) }
        }
    }

    // MARK: the adapter's products

    @Test(arguments: [(1, 5, 3, 1), (7, 13, 9, 3), (33, 64, 40, 8)])
    func `the adapter's products and their gradients are those of doubles`(size: (Int, Int, Int, Int)) {
        let (t, c, n, r) = size
        let (x, a, b) = (
            Numbers.rounded(Numbers.noise(t * c, seed: 41)), Numbers.rounded(Numbers.noise(r * c, seed: 42)), Numbers.rounded(Numbers.noise(n * r, seed: 43))
        )
        let dy = Numbers.rounded(Numbers.noise(t * n, seed: 44))
        let s = 2.0
        func product(_ x: [Double], _ a: [Double]) -> [Double] { (0..<t * r).map { i in (0..<c).reduce(0) { $0 + x[i / r * c + $1] * a[i % r * c + $1] } } }
        func up(_ xa: [Double], _ b: [Double]) -> [Double] { (0..<t * n).map { i in (0..<r).reduce(0) { $0 + s * xa[i / n * r + $1] * b[i % n * r + $1] } } }
        func value(_ x: [Double], _ a: [Double], _ b: [Double]) -> Double { zip(up(product(x, a), b), dy).reduce(0) { $0 + $1.0 * $1.1 } }
        let xa = product(x, a)
        let dxa = (0..<t * r).map { i in (0..<n).reduce(0) { $0 + s * dy[i / r * n + $1] * b[$1 * r + i % r] } }
        let dB = (0..<n * r).map { i in (0..<t).reduce(0) { $0 + s * dy[$1 * n + i / r] * xa[$1 * r + i % r] } }
        let dA = (0..<r * c).map { i in (0..<t).reduce(0) { $0 + dxa[$1 * r + i / c] * x[$1 * c + i % c] } }
        let dx = (0..<t * c).map { i in (0..<r).reduce(0) { $0 + dxa[i / c * r + $1] * a[$1 * c + i % c] } }
        if t * c < 100 {
            #expect(Numbers.slopeError(dx, at: x) { value($0, a, b) } < Numbers.slopeTolerance)
            #expect(Numbers.slopeError(dA, at: a) { value(x, $0, b) } < Numbers.slopeTolerance)
            #expect(Numbers.slopeError(dB, at: b) { value(x, a, $0) } < Numbers.slopeTolerance)
        }
        let (fx, fa, fb, fdy) = (Numbers.floats(x), Numbers.floats(a), Numbers.floats(b), Numbers.floats(dy))
        var (p, y) = ([Float](repeating: 9, count: t * r), [Float](repeating: 1, count: t * n))
        LoRAKernels.project(x: fx, a: fa, product: &p, ldp: r, rows: t, columns: c, rank: r, cpu: cpu)
        LoRAKernels.addUp(product: p, ldp: r, b: fb, scale: Float(s), y: &y, ldy: n, rows: t, outputs: n, rank: r, cpu: cpu)
        #expect(Numbers.difference(y, up(xa, b).map { $0 + 1 }) < Numbers.tolerance)
        var (gB, gP, gA, gX) = (
            [Float](repeating: 1, count: n * r), [Float](repeating: 9, count: t * r), [Float](repeating: 1, count: r * c), [Float](repeating: 1, count: t * c)
        )
        LoRAKernels.backwardUp(dy: fdy, ldy: n, product: p, ldp: r, b: fb, scale: Float(s), dB: &gB, dProduct: &gP, rows: t, outputs: n, rank: r, cpu: cpu)
        LoRAKernels.backwardA(dProduct: gP, ldp: r, x: fx, dA: &gA, rows: t, columns: c, rank: r, cpu: cpu)
        LoRAKernels.down(dProduct: gP, ldp: r, a: fa, dx: &gX, adding: true, rows: t, columns: c, rank: r, cpu: cpu)
        #expect(Numbers.difference(gB, dB.map { $0 + 1 }) < Numbers.tolerance && Numbers.difference(gA, dA.map { $0 + 1 }) < Numbers.tolerance)
        #expect(Numbers.difference(gX, dx.map { $0 + 1 }) < Numbers.tolerance)
    }

    // MARK: optimiser

    @Test(arguments: [1, 7, 1001], [[0.9, 0.999], [0.95, 0.98], [0.9, 0.99999999], [0.999999, 0.999999999]])
    func `AdamW is torch's formula over several steps`(count: Int, betas: [Double]) {
        let (beta1, beta2) = (betas[0], betas[1])
        var p = Numbers.rounded(Numbers.noise(count, seed: 51))
        var (m, v) = ([Double](repeating: 0, count: count), [Double](repeating: 0, count: count))
        var (fp, fm, fv) = (Numbers.floats(p), [Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
        for step in 1...5 {
            let g = Numbers.rounded(Numbers.noise(count, seed: UInt64(60 + step)))
            for i in 0..<count {
                let clipped = g[i] * 0.5
                p[i] *= 1 - 1e-2 * 0.1
                m[i] = beta1 * m[i] + (1 - beta1) * clipped
                v[i] = beta2 * v[i] + (1 - beta2) * clipped * clipped
                p[i] -= 1e-2 / (1 - pow(beta1, Double(step))) * m[i] / (v[i].squareRoot() / (1 - pow(beta2, Double(step))).squareRoot() + 1e-8)
            }
            let settings = AdamWSettings(beta1: beta1, beta2: beta2, weightDecay: 0.1)
            let n = settings.numbers(learningRate: 1e-2, update: step)
            AdamWKernels.step(
                values: &fp, gradients: Numbers.floats(g), firstMoment: &fm, secondMoment: &fv, count: count, numbers: (n[0], n[1], n[2], 0.5),
                settings: settings, cpu: cpu)
        }
        #expect(Numbers.difference(fp, p) < 2e-6 && Numbers.difference(fm, m, floor: 1e-6 * (1 - beta1)) < 1e-4)
        #expect(Numbers.difference(fv, v, floor: 1e-6 * (1 - beta2)) < 1e-5)
    }

    @Test func `the gradients' norm is that of doubles for any number of threads`() {
        let values = Numbers.floats(Numbers.noise(10_007, seed: 71))
        let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }
        func norm(_ values: [Float], _ cpu: CPU) -> Double {
            var partials = [Double](repeating: 0, count: 3)
            return GradientNormKernels.sumOfSquares(values, count: values.count, partials: &partials, cpu: cpu)
        }
        let sums = [1, 2, 5].map { norm(values, CPU(threads: $0)) }
        #expect(Set(sums).count == 1 && abs(sums[0] / expected - 1) < 1e-12)
    }
}
