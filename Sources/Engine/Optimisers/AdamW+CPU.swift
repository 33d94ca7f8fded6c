import LorikeetDevices

enum AdamWKernels {
    /// One step over `count` elements; see `AdamW`. Gradients are read, not changed.
    ///
    /// - Parameter numbers: `AdamWSettings.numbers`, and what gradients are multiplied by.
    static func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, firstMoment: UnsafeMutablePointer<Float>,
        secondMoment: UnsafeMutablePointer<Float>, count: Int, numbers: (rate: Double, root: Double, keep: Double, gradientScale: Double),
        settings: AdamWSettings, cpu: CPU
    ) {
        let (b1, b2) = (Float(settings.beta1), Float(settings.beta2))
        let (new1, new2) = (Float(1 - settings.beta1), Float(1 - settings.beta2))
        let (rate, root, keep, scale) = (Float(numbers.rate), Float(numbers.root), Float(numbers.keep), Float(numbers.gradientScale))
        let eps = Float(settings.epsilon)
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
    /// - Parameter partials: one float64 for each block of `GradientNorm.blockLength` values.
    static func sumOfSquares(_ values: UnsafePointer<Float>, count: Int, partials: UnsafeMutablePointer<Double>, cpu: CPU) -> Double {
        let block = GradientNorm.blockLength
        let blocks = (count + block - 1) / block
        cpu.parallelRanges(over: blocks) { range, _ in
            for b in range {
                var sum = 0.0
                for i in b * block..<min(count, (b + 1) * block) { sum += Double(values[i]) * Double(values[i]) }
                partials[b] = sum
            }
        }
        return (0..<blocks).reduce(0.0) { $0 + partials[$1] }
    }
}
