import LorikeetDevices

/// Packed causal attention in tiles of query rows: scores of a tile exist only in a worker's scratch.
///
/// A tile of `tileRows` rows sees the keys from its first row's first visible key to its last row; segments, the causal
/// triangle and the window inside that range are masked by zero probabilities. Products are small GEMMs on the joint buffer.
enum AttentionKernels {
    /// Query rows of a tile: 64 rows of scores against 512 keys stay in a second-level cache.
    static let tileRows = 64

    /// Floats of scratch a worker needs: scores, and in the backward pass their gradients.
    static func scratchFloats(rows: Int) -> Int { 2 * tileRows * rows }

    /// First key that row `row` sees.
    @inline(__always)
    private static func firstKey(_ row: Int, _ segmentStart: UnsafePointer<Int32>, _ window: Int?) -> Int {
        let start = Int(segmentStart[row])
        guard let window else { return start }
        return max(start, row - window + 1)
    }

    /// Overwrites out [T, H·D] and logSumExp [H, T].
    static func forward(
        joint: UnsafePointer<Float>, segmentStart: UnsafePointer<Int32>, out: UnsafeMutablePointer<Float>,
        logSumExp: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape, cpu: CPU
    ) {
        let (d, ld) = (shape.headDimension, shape.jointColumns)
        let tiles = (rows + tileRows - 1) / tileRows
        let perWorker = scratchFloats(rows: rows)
        cpu.parallelRanges(over: shape.heads * tiles) { range, worker in
            let scores = scratch + worker * perWorker
            for unit in range {
                let (head, tile) = (unit / tiles, unit % tiles)
                let first = tile * tileRows
                let count = min(tileRows, rows - first)
                let keyHead = head / (shape.heads / shape.keyValueHeads)
                let key0 = firstKey(first, segmentStart, shape.window)
                let keys = first + count - key0
                let q = joint + first * ld + head * d
                let k = joint + key0 * ld + (shape.heads + keyHead) * d
                let v = joint + key0 * ld + (shape.heads + shape.keyValueHeads + keyHead) * d
                CPU.serialGemm(
                    transposeB: true, m: count, n: keys, k: d, alpha: shape.scale, a: q, lda: ld, b: k, ldb: ld, c: scores, ldc: keys)
                for i in 0..<count {
                    let row = first + i
                    let low = firstKey(row, segmentStart, shape.window) - key0
                    logSumExp[head * rows + row] = softmax(scores + i * keys, low: low, high: row - key0 + 1, count: keys, cap: shape.softCap)
                }
                CPU.serialGemm(
                    m: count, n: d, k: keys, a: scores, lda: keys, b: v, ldb: ld, c: out + first * shape.heads * d + head * d,
                    ldc: shape.heads * d)
            }
        }
    }

    /// Scores in low..<high become probabilities, the others 0. Returns log sum exp.
    private static func softmax(_ s: UnsafeMutablePointer<Float>, low: Int, high: Int, count: Int, cap: Float?) -> Float {
        for i in 0..<low { s[i] = 0 }
        for i in high..<count { s[i] = 0 }
        let (s, n) = (s + low, high - low)
        if let cap { soften(s, n, cap) }
        var highest8 = SIMD8<Float>(repeating: -.infinity)
        eachEight(n) { highest8 = larger(highest8, load8(s + $0)) } rest: { i, lanes in
            highest8 = larger(highest8, loadPartly(s + i, lanes, fill: -.infinity))
        }
        let highest = highest8.max()
        var sums = SIMD8<Float>(repeating: 0)
        eachEight(n) { i in
            let e = exponential(load8(s + i) - highest)
            sums += e
            store8(e, s + i)
        } rest: { i, lanes in
            let e = exponential(loadPartly(s + i, lanes, fill: -.infinity) - highest)
            sums += e
            storePartly(e, s + i, lanes)
        }
        let sum = sums.sum()
        let inverse = 1 / sum
        eachEight(n) { store8(load8(s + $0) * inverse, s + $0) } rest: { i, lanes in
            storePartly(loadPartly(s + i, lanes) * inverse, s + i, lanes)
        }
        return highest + logarithm(sum)
    }

    /// s = cap * tanh(s / cap).
    private static func soften(_ s: UnsafeMutablePointer<Float>, _ n: Int, _ cap: Float) {
        eachEight(n) { store8(cap * hyperbolicTangent(load8(s + $0) / cap), s + $0) } rest: { i, lanes in
            storePartly(cap * hyperbolicTangent(loadPartly(s + i, lanes) / cap), s + i, lanes)
        }
    }

    /// Overwrites dJoint [T, (H+2K)·D].
    ///
    /// Every query head has a dk and a dv of its own in `perHead` [H, T, 2·D]; they are summed over a group at the end, so that
    /// the result does not depend on which worker took which head.
    static func backward(
        dOut: UnsafePointer<Float>, joint: UnsafePointer<Float>, out: UnsafePointer<Float>, logSumExp: UnsafePointer<Float>,
        segmentStart: UnsafePointer<Int32>, dJoint: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>,
        perHead: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape, cpu: CPU
    ) {
        let (d, ld) = (shape.headDimension, shape.jointColumns)
        let perWorker = scratchFloats(rows: rows)
        cpu.parallelRanges(over: shape.heads) { range, worker in
            for head in range {
                let own = perHead + head * rows * 2 * d
                own.update(repeating: 0, count: rows * 2 * d)
                for first in stride(from: 0, to: rows, by: tileRows) {
                    backwardTile(
                        head: head, first: first, count: min(tileRows, rows - first), dOut: dOut, joint: joint, out: out,
                        logSumExp: logSumExp, segmentStart: segmentStart, dJoint: dJoint, scratch: scratch + worker * perWorker, own: own,
                        rows: rows, shape: shape)
                }
            }
        }
        let group = shape.heads / shape.keyValueHeads
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                for keyHead in 0..<shape.keyValueHeads {
                    let dk = dJoint + row * ld + (shape.heads + keyHead) * d
                    let dv = dk + shape.keyValueHeads * d
                    for i in 0..<d {
                        var (sumK, sumV): (Float, Float) = (0, 0)
                        for member in 0..<group {
                            let own = perHead + ((keyHead * group + member) * rows + row) * 2 * d
                            sumK += own[i]
                            sumV += own[d + i]
                        }
                        dk[i] = sumK
                        dv[i] = sumV
                    }
                }
            }
        }
    }

    private static func backwardTile(
        head: Int, first: Int, count: Int, dOut: UnsafePointer<Float>, joint: UnsafePointer<Float>, out: UnsafePointer<Float>,
        logSumExp: UnsafePointer<Float>, segmentStart: UnsafePointer<Int32>, dJoint: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, own: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape
    ) {
        let (d, ld, ldo) = (shape.headDimension, shape.jointColumns, shape.heads * shape.headDimension)
        let keyHead = head / (shape.heads / shape.keyValueHeads)
        let key0 = firstKey(first, segmentStart, shape.window)
        let keys = first + count - key0
        let q = joint + first * ld + head * d
        let k = joint + key0 * ld + (shape.heads + keyHead) * d
        let v = joint + key0 * ld + (shape.heads + shape.keyValueHeads + keyHead) * d
        let dO = dOut + first * ldo + head * d
        let (p, dp) = (scratch, scratch + count * keys)
        CPU.serialGemm(transposeB: true, m: count, n: keys, k: d, alpha: shape.scale, a: q, lda: ld, b: k, ldb: ld, c: p, ldc: keys)
        CPU.serialGemm(transposeB: true, m: count, n: keys, k: d, a: dO, lda: ldo, b: v, ldb: ld, c: dp, ldc: keys)
        for i in 0..<count {
            let row = first + i
            let low = firstKey(row, segmentStart, shape.window) - key0
            let delta = sumOfProducts(dO + i * ldo, out + row * ldo + head * d, d)
            scoreGradients(
                p + i * keys, dp + i * keys, low: low, high: row - key0 + 1, count: keys, logSumExp: logSumExp[head * rows + row],
                delta: delta, shape: shape)
        }
        // dq = ds k;  dk += dsᵀ q;  dv += pᵀ dO  (the scale is in ds)
        CPU.serialGemm(m: count, n: d, k: keys, a: dp, lda: keys, b: k, ldb: ld, c: dJoint + first * ld + head * d, ldc: ld)
        CPU.serialGemm(
            transposeA: true, m: keys, n: d, k: count, a: dp, lda: keys, b: q, ldb: ld, beta: 1, c: own + key0 * 2 * d, ldc: 2 * d)
        CPU.serialGemm(
            transposeA: true, m: keys, n: d, k: count, a: p, lda: keys, b: dO, ldb: ldo, beta: 1, c: own + key0 * 2 * d + d, ldc: 2 * d)
    }

    /// Scores become probabilities p, and dp becomes scale * p * (dp - delta) (times the soft cap's slope); 0 outside low..<high.
    private static func scoreGradients(
        _ s: UnsafeMutablePointer<Float>, _ dp: UnsafeMutablePointer<Float>, low: Int, high: Int, count: Int, logSumExp: Float,
        delta: Float, shape: AttentionShape
    ) {
        for i in 0..<low { (s[i], dp[i]) = (0, 0) }
        for i in high..<count { (s[i], dp[i]) = (0, 0) }
        let (s, dp, n) = (s + low, dp + low, high - low)
        let scale = shape.scale
        if let cap = shape.softCap {
            soften(s, n, cap)
            for i in 0..<n { dp[i] = (dp[i] - delta) * (1 - (s[i] / cap) * (s[i] / cap)) }
        } else {
            eachEight(n) { store8(load8(dp + $0) - delta, dp + $0) } rest: { i, lanes in
                storePartly(loadPartly(dp + i, lanes) - delta, dp + i, lanes)
            }
        }
        eachEight(n) { i in
            let p = exponential(load8(s + i) - logSumExp)
            store8(p, s + i)
            store8(p * load8(dp + i) * scale, dp + i)
        } rest: { i, lanes in
            let p = exponential(loadPartly(s + i, lanes) - logSumExp)
            storePartly(p, s + i, lanes)
            storePartly(p * loadPartly(dp + i, lanes) * scale, dp + i, lanes)
        }
    }
}
