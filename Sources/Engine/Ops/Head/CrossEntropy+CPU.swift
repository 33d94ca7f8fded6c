import Glibc
import LorikeetDevices

/// Softmax and cross-entropy over rows of logits.
enum CrossEntropyKernels {
    /// log p of each row's target; with `gradientInPlace` the logits become weight * (softmax - onehot), soft cap included.
    ///
    /// - Parameter softCap: z = cap * tanh(logit / cap) before the softmax.
    static func run(
        logits: UnsafeMutablePointer<Float>, rows: Int, vocabulary: Int, targets: [Int32], weights: [Float], gradientInPlace: Bool,
        softCap: Float?, cpu: CPU
    ) -> [Float] {
        var results = [Float](repeating: 0, count: rows)
        results.withUnsafeMutableBufferPointer { results in
            let base = results.baseAddress
            cpu.parallelRanges(over: rows) { range, _ in
                for row in range {
                    base?[row] = one(
                        logits + row * vocabulary, vocabulary, target: Int(targets[row]), weight: weights[row], gradient: gradientInPlace,
                        softCap: softCap)
                }
            }
        }
        return results
    }

    private static func one(
        _ z: UnsafeMutablePointer<Float>, _ count: Int, target: Int, weight: Float, gradient: Bool, softCap: Float?
    ) -> Float {
        if let softCap {
            eachEight(count) {
                store8(softCap * hyperbolicTangent(load8(z + $0) / softCap), z + $0)
            } rest: { i, n in
                storePartly(softCap * hyperbolicTangent(loadPartly(z + i, n) / softCap), z + i, n)
            }
        }
        let highest = maximum(z, count)
        let atTarget = z[target]
        // Partial sums of a few thousand floats each go into a double: 50,000 terms would cost float32 its last digits.
        var sum = 0.0
        var start = 0
        while start < count {
            let end = min(count, start + 4096)
            var sums = SIMD8<Float>(repeating: 0)
            eachEight(end - start) {
                sums += exponential(load8(z + start + $0) - highest)
            } rest: { i, n in
                sums += exponential(loadPartly(z + start + i, n, fill: -.infinity) - highest)
            }
            sum += Double(sums.sum())
            start = end
        }
        let logSum = highest + Float(log(sum))
        guard gradient else { return atTarget - logSum }
        eachEight(count) { i in
            let v = load8(z + i)
            var g = weight * exponential(v - logSum)
            if let softCap { g *= 1 - (v / softCap) * (v / softCap) }
            store8(g, z + i)
        } rest: { i, n in
            let v = loadPartly(z + i, n)
            var g = weight * exponential(v - logSum)
            if let softCap { g *= 1 - (v / softCap) * (v / softCap) }
            storePartly(g, z + i, n)
        }
        var slope: Float = 1
        if let softCap { slope = 1 - (atTarget / softCap) * (atTarget / softCap) }
        z[target] -= weight * slope
        return atTarget - logSum
    }

    private static func maximum(_ z: UnsafePointer<Float>, _ count: Int) -> Float {
        var highest = SIMD8<Float>(repeating: -.infinity)
        eachEight(count) {
            highest = larger(highest, load8(z + $0))
        } rest: { i, n in
            highest = larger(highest, loadPartly(z + i, n, fill: -.infinity))
        }
        return highest.max()
    }
}
