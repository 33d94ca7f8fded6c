import LorikeetDevices

/// Root-mean-square normalisation of rows of `columns` floats, dense.
enum RMSNormKernels {
    /// h = x (+ deltaScale * delta) to `hOut` where given, 1/rms to `inverseRMS`, y = h / rms * (weight + offset).
    static func forward(
        x: UnsafePointer<Float>, delta: UnsafePointer<Float>?, deltaScale: Float = 1, weight: UnsafePointer<Float>, epsilon: Float,
        weightOffset: Float, hOut: UnsafeMutablePointer<Float>?, y: UnsafeMutablePointer<Float>, inverseRMS: UnsafeMutablePointer<Float>,
        rows: Int, columns: Int, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let start = row * columns
                var h = x + start
                if let delta, let hOut {
                    ResidualKernels.add(h, delta + start, deltaScale, into: hOut + start, columns)
                    h = UnsafePointer(hOut + start)
                }
                let inverse = 1 / (sumOfProducts(h, h, columns) / Float(columns) + epsilon).squareRoot()
                inverseRMS[row] = inverse
                scale(h, weight, weightOffset, inverse, into: y + start, columns)
            }
        }
    }

    /// y again from h and 1/rms, with the bits of `forward`.
    static func recompute(
        h: UnsafePointer<Float>, inverseRMS: UnsafePointer<Float>, weight: UnsafePointer<Float>, weightOffset: Float,
        y: UnsafeMutablePointer<Float>, rows: Int, columns: Int, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range { scale(h + row * columns, weight, weightOffset, inverseRMS[row], into: y + row * columns, columns) }
        }
    }

    /// dx = r * (g - h * r² * mean(g h)) (+ dResidual), g = dy * (weight + offset). Overwrites dx, and dDelta with deltaScale * dx.
    static func backward(
        dy: UnsafePointer<Float>, h: UnsafePointer<Float>, inverseRMS: UnsafePointer<Float>, weight: UnsafePointer<Float>,
        weightOffset: Float, dResidual: UnsafePointer<Float>?, dx: UnsafeMutablePointer<Float>, dDelta: UnsafeMutablePointer<Float>? = nil,
        deltaScale: Float = 1, rows: Int, columns: Int, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let start = row * columns
                let (dy, h, dx) = (dy + start, h + start, dx + start)
                var sums = SIMD8<Float>(repeating: 0)
                eachEight(columns) { i in
                    sums.addProduct(load8(dy + i) * (load8(weight + i) + weightOffset), load8(h + i))
                } rest: { i, n in
                    sums.addProduct(loadPartly(dy + i, n) * (loadPartly(weight + i, n) + weightOffset), loadPartly(h + i, n))
                }
                let r = inverseRMS[row]
                let factor = r * r * r * sums.sum() / Float(columns)
                let residual = dResidual.map { $0 + start }
                eachEight(columns) { i in
                    var v = load8(dy + i) * (load8(weight + i) + weightOffset) * r - load8(h + i) * factor
                    if let residual { v += load8(residual + i) }
                    store8(v, dx + i)
                } rest: { i, n in
                    var v = loadPartly(dy + i, n) * (loadPartly(weight + i, n) + weightOffset) * r - loadPartly(h + i, n) * factor
                    if let residual { v += loadPartly(residual + i, n) }
                    storePartly(v, dx + i, n)
                }
                if let dDelta { ResidualKernels.scale(dx, deltaScale, into: dDelta + start, columns) }
            }
        }
    }

    @inline(__always)
    private static func scale(
        _ h: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, _ offset: Float, _ r: Float, into y: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        eachEight(count) {
            store8(load8(h + $0) * r * (load8(weight + $0) + offset), y + $0)
        } rest: { i, n in
            storePartly(loadPartly(h + i, n) * r * (loadPartly(weight + i, n) + offset), y + i, n)
        }
    }
}

/// sum of a[i] b[i] in eight partial sums: the order does not depend on the machine's threads.
@inline(__always)
func sumOfProducts(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    var sums = SIMD8<Float>(repeating: 0)
    eachEight(count) {
        sums.addProduct(load8(a + $0), load8(b + $0))
    } rest: { i, n in
        sums.addProduct(loadPartly(a + i, n), loadPartly(b + i, n))
    }
    return sums.sum()
}
