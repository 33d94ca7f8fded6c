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
            let (values, gradients) = (values + range.lowerBound, gradients + range.lowerBound)
            let (first, second) = (firstMoment + range.lowerBound, secondMoment + range.lowerBound)
            @inline(__always)
            func update(_ p: inout SIMD8<Float>, _ gradient: SIMD8<Float>, _ m: inout SIMD8<Float>, _ v: inout SIMD8<Float>) {
                let g = gradient * scale
                m = m * b1 + g * new1
                v = v * b2 + g * g * new2
                p = p * keep - rate * m / (v.squareRoot() * root + eps)
            }
            eachEight(range.count) { i in
                var (p, m, v) = (load8(values + i), load8(first + i), load8(second + i))
                update(&p, load8(gradients + i), &m, &v)
                store8(m, first + i)
                store8(v, second + i)
                store8(p, values + i)
            } rest: { i, n in
                var (p, m, v) = (loadPartly(values + i, n), loadPartly(first + i, n), loadPartly(second + i, n))
                update(&p, loadPartly(gradients + i, n), &m, &v)
                storePartly(m, first + i, n)
                storePartly(v, second + i, n)
                storePartly(p, values + i, n)
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
