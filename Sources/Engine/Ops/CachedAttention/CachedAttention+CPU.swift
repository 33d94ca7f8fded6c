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
        let d = shape.headDimension
        var highest = -Float.infinity
        for position in first...last {
            var s = sumOfProducts(q, keys + position * stride, d) * shape.scale
            if let cap = shape.softCap { s = cap * hyperbolicTangent(SIMD8(repeating: s / cap))[0] }
            scores[position] = s
            highest = max(highest, s)
        }
        var sum: Float = 0
        for position in first...last {
            let e = exponential(SIMD8(repeating: scores[position] - highest))[0]
            scores[position] = e
            sum += e
        }
        out.update(repeating: 0, count: d)
        for position in first...last {
            let p = scores[position] / sum
            let v = values + position * stride
            eachEight(d) {
                store8(load8(out + $0).addingProduct(load8(v + $0), SIMD8(repeating: p)), out + $0)
            } rest: { i, n in
                storePartly(loadPartly(out + i, n).addingProduct(loadPartly(v + i, n), SIMD8(repeating: p)), out + i, n)
            }
        }
    }
}
