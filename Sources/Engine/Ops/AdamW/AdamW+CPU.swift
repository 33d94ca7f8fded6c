import Glibc
import LorikeetDevices

enum AdamWKernels {
    /// One step over `count` elements; see `adamWStep`. Gradients are read, not changed.
    static func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, firstMoment: UnsafeMutablePointer<Float>,
        secondMoment: UnsafeMutablePointer<Float>, count: Int, learningRate: Double, beta1: Double, beta2: Double, epsilon: Double,
        weightDecay: Double, gradientScale: Double, step: Int, cpu: CPU
    ) {
        let correction1 = 1 - pow(beta1, Double(step))
        let correction2 = (1 - pow(beta2, Double(step))).squareRoot()
        let keep = Float(1 - learningRate * weightDecay)
        let (b1, b2) = (Float(beta1), Float(beta2))
        let (new1, new2) = (Float(1 - beta1), Float(1 - beta2))
        let (rate, root, eps, scale) = (Float(learningRate / correction1), Float(1 / correction2), Float(epsilon), Float(gradientScale))
        cpu.parallelRanges(over: count, grain: 8) { range, _ in
            var i = range.lowerBound
            while i < range.upperBound {
                let n = min(8, range.upperBound - i)
                let g = loadPartly(gradients + i, n) * scale
                let m = loadPartly(firstMoment + i, n) * b1 + g * new1
                let v = loadPartly(secondMoment + i, n) * b2 + g * g * new2
                let p = loadPartly(values + i, n) * keep - rate * m / (v.squareRoot() * root + eps)
                storePartly(m, firstMoment + i, n)
                storePartly(v, secondMoment + i, n)
                storePartly(p, values + i, n)
                i += 8
            }
        }
    }
}

enum GradientNormKernels {
    /// Sum of squares in double over blocks of fixed size: the same for any number of threads.
    static func sumOfSquares(_ values: UnsafePointer<Float>, count: Int, cpu: CPU) -> Double {
        let block = 4096
        let blocks = (count + block - 1) / block
        var sums = [Double](repeating: 0, count: blocks)
        sums.withUnsafeMutableBufferPointer { sums in
            let base = sums.baseAddress
            cpu.parallelRanges(over: blocks) { range, _ in
                for b in range {
                    var sum = 0.0
                    for i in b * block..<min(count, (b + 1) * block) { sum += Double(values[i]) * Double(values[i]) }
                    base?[b] = sum
                }
            }
        }
        return sums.reduce(0, +)
    }
}
