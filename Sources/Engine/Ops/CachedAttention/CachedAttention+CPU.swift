import LorikeetDevices

enum CachedAttentionKernels {
    /// Writes k and v of all rows to the cache, then lets each row attend to its slot up to its own position. Overwrites out.
    ///
    /// - Parameter scratch: [workers, maximumPositions] floats for scores.
    static func run(
        joint: UnsafePointer<Float>, slots: UnsafePointer<Int32>, positions: UnsafePointer<Int32>, cache: UnsafeMutablePointer<Float>,
        maximumPositions: Int, out: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape,
        cpu: CPU
    ) {
        let (d, ld) = (shape.headDimension, shape.jointColumns)
        let wide = 2 * shape.keyValueHeads * d
        for row in 0..<rows {
            let place = (Int(slots[row]) * maximumPositions + Int(positions[row])) * wide
            (cache + place).update(from: joint + row * ld + shape.heads * d, count: wide)
        }
        cpu.parallelRanges(over: rows * shape.heads) { range, worker in
            let scores = scratch + worker * maximumPositions
            for unit in range {
                let (row, head) = (unit / shape.heads, unit % shape.heads)
                let last = Int(positions[row])
                let first = shape.window.map { max(0, last - $0 + 1) } ?? 0
                let keyHead = head / (shape.heads / shape.keyValueHeads)
                let base = cache + Int(slots[row]) * maximumPositions * wide + keyHead * d
                attend(
                    joint + row * ld + head * d, keys: base, values: base + shape.keyValueHeads * d, first: first, last: last, stride: wide,
                    scores: scores, out: out + (row * shape.heads + head) * d, shape: shape)
            }
        }
    }

    private static func attend(
        _ q: UnsafePointer<Float>, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, first: Int, last: Int, stride: Int,
        scores: UnsafeMutablePointer<Float>, out: UnsafeMutablePointer<Float>, shape: AttentionShape
    ) {
        let count = last - first + 1
        let (keys, values) = (keys + first * stride, values + first * stride)
        score(q, keys, count: count, stride: stride, d: shape.headDimension, scale: shape.scale, into: scores)
        _ = AttentionKernels.softmax(scores, low: 0, high: count, count: count, cap: shape.softCap)
        mix(scores, values, count: count, stride: stride, d: shape.headDimension, into: out)
    }

    /// scores[i] = scale * q·keys[i], four keys at a time: one alone waits for its own additions.
    private static func score(
        _ q: UnsafePointer<Float>, _ keys: UnsafePointer<Float>, count: Int, stride: Int, d: Int, scale: Float,
        into scores: UnsafeMutablePointer<Float>
    ) {
        var i = 0
        while i + 4 <= count {
            let (k0, k1, k2, k3) = (keys + i * stride, keys + (i + 1) * stride, keys + (i + 2) * stride, keys + (i + 3) * stride)
            var (s0, s1, s2, s3) = (SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>())
            eachEight(d) {
                let x = load8(q + $0)
                s0.addProduct(x, load8(k0 + $0))
                s1.addProduct(x, load8(k1 + $0))
                s2.addProduct(x, load8(k2 + $0))
                s3.addProduct(x, load8(k3 + $0))
            } rest: { c, n in
                let x = loadPartly(q + c, n)
                s0.addProduct(x, loadPartly(k0 + c, n))
                s1.addProduct(x, loadPartly(k1 + c, n))
                s2.addProduct(x, loadPartly(k2 + c, n))
                s3.addProduct(x, loadPartly(k3 + c, n))
            }
            scores[i] = s0.sum() * scale
            scores[i + 1] = s1.sum() * scale
            scores[i + 2] = s2.sum() * scale
            scores[i + 3] = s3.sum() * scale
            i += 4
        }
        while i < count {
            scores[i] = sumOfProducts(q, keys + i * stride, d) * scale
            i += 1
        }
    }

    /// out = sum of p[i] * values[i], in blocks of columns whose sums stay in registers.
    private static func mix(
        _ p: UnsafePointer<Float>, _ values: UnsafePointer<Float>, count: Int, stride: Int, d: Int, into out: UnsafeMutablePointer<Float>
    ) {
        var column = 0
        while column + 32 <= d {
            var (s0, s1, s2, s3) = (SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>(), SIMD8<Float>())
            for i in 0..<count {
                let v = values + i * stride + column
                let weight = SIMD8<Float>(repeating: p[i])
                s0.addProduct(load8(v), weight)
                s1.addProduct(load8(v + 8), weight)
                s2.addProduct(load8(v + 16), weight)
                s3.addProduct(load8(v + 24), weight)
            }
            store8(s0, out + column)
            store8(s1, out + column + 8)
            store8(s2, out + column + 16)
            store8(s3, out + column + 24)
            column += 32
        }
        while column < d {
            let lanes = min(8, d - column)
            var sums = SIMD8<Float>()
            for i in 0..<count { sums.addProduct(loadPartly(values + i * stride + column, lanes), SIMD8(repeating: p[i])) }
            storePartly(sums, out + column, lanes)
            column += lanes
        }
    }
}
