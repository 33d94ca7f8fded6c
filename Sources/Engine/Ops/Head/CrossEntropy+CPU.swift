import Glibc
import LorikeetDevices

/// Softmax and cross-entropy over rows of logits.
enum CrossEntropyKernels {
    /// log p of each row's target; with `gradientInPlace` the logits become weight * (softmax - onehot), soft cap included.
    ///
    /// - Parameters:
    ///   - softCap: z = cap * tanh(logit / cap) before the softmax.
    ///   - choices: [rows], the first of the largest logits of each row.
    static func run(
        logits: UnsafeMutablePointer<Float>, rows: Int, vocabulary: Int, targets: [Int32], weights: [Float], gradientInPlace: Bool,
        softCap: Float?, choices: UnsafeMutablePointer<Int32>? = nil, cpu: CPU
    ) -> [Float] {
        var results = [Float](repeating: 0, count: rows)
        results.withUnsafeMutableBufferPointer { results in
            let base = results.baseAddress
            cpu.parallelRanges(over: rows) { range, _ in
                for row in range {
                    base?[row] = one(
                        logits + row * vocabulary, vocabulary, target: Int(targets[row]), weight: weights[row], gradient: gradientInPlace,
                        softCap: softCap, choice: choices.map { $0 + row })
                }
            }
        }
        return results
    }

    private static func one(
        _ z: UnsafeMutablePointer<Float>, _ count: Int, target: Int, weight: Float, gradient: Bool, softCap: Float?,
        choice: UnsafeMutablePointer<Int32>?
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
        choice?.pointee = Int32((0..<count).first { z[$0] == highest } ?? 0)
        // Without a soft cap the gradient needs the logits no more: their exponentials take their place and are computed once.
        let sum = gradient && softCap == nil ? exponentials(z, count, highest, storing: true) : exponentials(z, count, highest, storing: false)
        let logSum = highest + Float(log(sum))
        guard gradient else { return atTarget - logSum }
        var slope: Float = 1
        if let softCap {
            slope = 1 - (atTarget / softCap) * (atTarget / softCap)
            softened(z, count, weight: weight, logSum: logSum, softCap: softCap)
        } else {
            let factor = Float(Double(weight) / sum)
            eachEight(count) {
                store8(load8(z + $0) * factor, z + $0)
            } rest: { i, n in
                storePartly(loadPartly(z + i, n) * factor, z + i, n)
            }
        }
        z[target] -= weight * slope
        return atTarget - logSum
    }

    /// The sum of e^(z - highest); `storing` puts them in z's place.
    ///
    /// Partial sums of a few thousand floats each go into a double: 50,000 terms would cost float32 its last digits.
    @inline(__always)
    private static func exponentials(_ z: UnsafeMutablePointer<Float>, _ count: Int, _ highest: Float, storing: Bool) -> Double {
        var sum = 0.0
        var start = 0
        while start < count {
            let end = min(count, start + 4096)
            var sums = SIMD8<Float>(repeating: 0)
            eachEight(end - start) {
                let e = exponential(load8(z + start + $0) - highest)
                sums += e
                if storing { store8(e, z + start + $0) }
            } rest: { i, n in
                let e = exponential(loadPartly(z + start + i, n, fill: -.infinity) - highest)
                sums += e
                if storing { storePartly(e, z + start + i, n) }
            }
            sum += Double(sums.sum())
            start = end
        }
        return sum
    }

    /// Soft-capped logits become weight * softmax * (the cap's slope).
    private static func softened(_ z: UnsafeMutablePointer<Float>, _ count: Int, weight: Float, logSum: Float, softCap: Float) {
        eachEight(count) { i in
            let v = load8(z + i)
            store8(weight * exponential(v - logSum) * (1 - (v / softCap) * (v / softCap)), z + i)
        } rest: { i, n in
            let v = loadPartly(z + i, n)
            storePartly(weight * exponential(v - logSum) * (1 - (v / softCap) * (v / softCap)), z + i, n)
        }
    }

    /// The largest of z, at least the lowest finite number, and the first place of it; infinity where one is NaN or infinite, and its place.
    static func largest(_ z: UnsafePointer<Float>, _ count: Int) -> (value: Float, place: Int) {
        // NaN or infinity times 0 is NaN, and so is a sum with it.
        var zeros = SIMD8<Float>(repeating: 0)
        eachEight(count) {
            zeros += load8(z + $0) * 0
        } rest: { i, n in
            zeros += loadPartly(z + i, n) * 0
        }
        guard zeros.sum() == 0 else { return (.infinity, (0..<count).first { !z[$0].isFinite } ?? 0) }
        let highest = max(maximum(z, count), -.greatestFiniteMagnitude)
        return (highest, (0..<count).first { z[$0] == highest } ?? 0)
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
