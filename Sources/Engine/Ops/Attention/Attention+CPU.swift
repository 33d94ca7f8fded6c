import LorikeetDevices

/// Packed causal attention in tiles: scores of a tile exist only in a worker's scratch.
///
/// The query heads that share a key head are stacked: a tile holds `tileRows` rows of each, so that one product serves the whole
/// group and dk, dv come out summed over it. A tile sees the keys from its first row's first visible key to its last row;
/// segments, the causal triangle and the window inside that range are masked by zero probabilities.
enum AttentionKernels {
    /// Rows of each head in a tile: stacked over the group about 128, whose scores against 512 keys stay in a second-level cache.
    static func tileRows(_ shape: AttentionShape) -> Int {
        let group = shape.heads / shape.keyValueHeads
        return group == 1 ? 64 : max(16, 128 / group / 8 * 8)
    }

    /// Tiles of a key head are dealt to so many accumulators of dk and dv, whatever the number of threads: the sums' order stays.
    static let shares = 2

    /// Floats of scratch a worker needs: a tile's scores and their gradients, and its stacked q, dout and dq (or out). A tile sees as many
    /// keys as its first row's window has, and its own rows. The values of these keys may have to be gathered in place of the gradients.
    static func scratchFloats(rows: Int, shape: AttentionShape) -> Int {
        let (height, group) = (tileRows(shape), shape.heads / shape.keyValueHeads)
        let keys = min(rows, min(rows, shape.window ?? rows) - 1 + height)
        return group * height * (keys + 3 * shape.headDimension) + keys * max(group * height, shape.headDimension)
    }

    /// What all tiles of a call share.
    private struct Call {
        let joint: UnsafePointer<Float>
        let segmentStart: UnsafePointer<Int32>
        let rows: Int
        let shape: AttentionShape

        var d: Int { shape.headDimension }
        var ld: Int { shape.jointColumns }
        var group: Int { shape.heads / shape.keyValueHeads }
        var outColumns: Int { shape.heads * shape.headDimension }

        /// First key that row `row` sees.
        @inline(__always)
        func firstKey(_ row: Int) -> Int {
            let start = Int(segmentStart[row])
            guard let window = shape.window else { return start }
            return max(start, row - window + 1)
        }
    }

    /// A tile's place: `count` rows from `first`, `keys` keys from `key0`, the heads of `keyHead`'s group.
    private struct Tile {
        let first, count, key0, keys, keyHead: Int

        init(_ call: Call, first: Int, keyHead: Int) {
            self.first = first
            self.keyHead = keyHead
            count = min(AttentionKernels.tileRows(call.shape), call.rows - first)
            key0 = call.firstKey(first)
            keys = first + count - key0
        }

        /// The group's columns of `source` (row stride `ld`, from column `column`) as [group * count, d], heads one behind the other.
        func stack(_ source: UnsafePointer<Float>, ld: Int, column: Int, group: Int, d: Int, into out: UnsafeMutablePointer<Float>) {
            for head in 0..<group {
                for i in 0..<count { (out + (head * count + i) * d).update(from: source + (first + i) * ld + column + head * d, count: d) }
            }
        }

        func unstack(_ stacked: UnsafePointer<Float>, group: Int, d: Int, into out: UnsafeMutablePointer<Float>, ld: Int, column: Int) {
            for head in 0..<group {
                for i in 0..<count { (out + (first + i) * ld + column + head * d).update(from: stacked + (head * count + i) * d, count: d) }
            }
        }
    }

    /// First, last, second, last but one, …: in a long segment later tiles see more keys, and workers get ranges of places.
    static func balanced(_ place: Int, of tiles: Int) -> Int { place % 2 == 0 ? place / 2 : tiles - 1 - place / 2 }

    /// Overwrites out [T, H·D] and logSumExp [H, T].
    static func forward(
        joint: UnsafePointer<Float>, segmentStart: UnsafePointer<Int32>, out: UnsafeMutablePointer<Float>,
        logSumExp: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape, cpu: CPU
    ) {
        let call = Call(joint: joint, segmentStart: segmentStart, rows: rows, shape: shape)
        let height = tileRows(shape)
        let tiles = (rows + height - 1) / height
        let perWorker = scratchFloats(rows: rows, shape: shape)
        let (d, ld, group) = (call.d, call.ld, call.group)
        cpu.parallelRanges(over: shape.keyValueHeads * tiles) { range, worker in
            let q = scratch + worker * perWorker
            let result = q + group * height * d
            let scores = result + group * height * d
            for unit in range {
                let tile = Tile(call, first: balanced(unit % tiles, of: tiles) * height, keyHead: unit / tiles)
                let column = tile.keyHead * group * d
                let stacked = group * tile.count
                tile.stack(joint, ld: ld, column: column, group: group, d: d, into: q)
                let k = joint + tile.key0 * ld + (shape.heads + tile.keyHead) * d
                let v = k + shape.keyValueHeads * d
                CPU.serialGemm(
                    transposeB: true, m: stacked, n: tile.keys, k: d, alpha: shape.scale, a: q, lda: d, b: k, ldb: ld, c: scores, ldc: tile.keys)
                for row in 0..<stacked {
                    let (head, t) = (tile.keyHead * group + row / tile.count, tile.first + row % tile.count)
                    logSumExp[head * rows + t] = softmax(
                        scores + row * tile.keys, low: call.firstKey(t) - tile.key0, high: t - tile.key0 + 1, count: tile.keys, cap: shape.softCap)
                }
                CPU.serialGemm(m: stacked, n: d, k: tile.keys, a: scores, lda: tile.keys, b: v, ldb: ld, c: result, ldc: d)
                tile.unstack(result, group: group, d: d, into: out, ld: call.outColumns, column: column)
            }
        }
    }

    /// Scores in low..<high become probabilities, the others 0. Returns log sum exp.
    static func softmax(_ s: UnsafeMutablePointer<Float>, low: Int, high: Int, count: Int, cap: Float?) -> Float {
        clear(s, low, high, count)
        let (s, n) = (s + low, high - low)
        if let cap { applySoftCap(s, n, cap) }
        var highest8 = SIMD8<Float>(repeating: -.infinity)
        eachEight(n) {
            highest8 = larger(highest8, load8(s + $0))
        } rest: { i, lanes in
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
        eachEight(n) {
            store8(load8(s + $0) * inverse, s + $0)
        } rest: { i, lanes in
            storePartly(loadPartly(s + i, lanes) * inverse, s + i, lanes)
        }
        return highest + logarithm(sum)
    }

    @inline(__always)
    private static func clear(_ s: UnsafeMutablePointer<Float>, _ low: Int, _ high: Int, _ count: Int) {
        if low > 0 { s.update(repeating: 0, count: low) }
        if high < count { (s + high).update(repeating: 0, count: count - high) }
    }

    /// s = cap * tanh(s / cap).
    private static func applySoftCap(_ s: UnsafeMutablePointer<Float>, _ n: Int, _ cap: Float) {
        eachEight(n) {
            store8(cap * hyperbolicTangent(load8(s + $0) / cap), s + $0)
        } rest: { i, lanes in
            storePartly(cap * hyperbolicTangent(loadPartly(s + i, lanes) / cap), s + i, lanes)
        }
    }

    /// Overwrites dJoint [T, (H+2K)·D].
    ///
    /// - Parameter sums: [K, shares, T, 2·D], dk and dv of each key head by share; added up at the end in that order.
    static func backward(
        dOut: UnsafePointer<Float>, joint: UnsafePointer<Float>, out: UnsafePointer<Float>, logSumExp: UnsafePointer<Float>,
        segmentStart: UnsafePointer<Int32>, dJoint: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>,
        sums: UnsafeMutablePointer<Float>, rows: Int, shape: AttentionShape, cpu: CPU
    ) {
        let call = Call(joint: joint, segmentStart: segmentStart, rows: rows, shape: shape)
        let height = tileRows(shape)
        let perWorker = scratchFloats(rows: rows, shape: shape)
        let size = rows * 2 * call.d
        cpu.parallelRanges(over: shape.keyValueHeads * shares) { range, worker in
            for unit in range {
                let own = sums + unit * size
                own.update(repeating: 0, count: size)
                for first in stride(from: unit % shares * height, to: rows, by: shares * height) {
                    backwardTile(
                        call, Tile(call, first: first, keyHead: unit / shares), dOut: dOut, out: out, logSumExp: logSumExp, dJoint: dJoint,
                        scratch: scratch + worker * perWorker, sums: own)
                }
            }
        }
        let d = call.d
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                for keyHead in 0..<shape.keyValueHeads {
                    let a = sums + keyHead * shares * size + row * 2 * d
                    let dk = dJoint + row * call.ld + (shape.heads + keyHead) * d
                    let dv = dk + shape.keyValueHeads * d
                    for i in 0..<d {
                        dk[i] = a[i] + a[size + i]
                        dv[i] = a[d + i] + a[size + d + i]
                    }
                }
            }
        }
    }

    private static func backwardTile(
        _ call: Call, _ tile: Tile, dOut: UnsafePointer<Float>, out: UnsafePointer<Float>, logSumExp: UnsafePointer<Float>,
        dJoint: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, sums: UnsafeMutablePointer<Float>
    ) {
        let (d, ld, group, shape) = (call.d, call.ld, call.group, call.shape)
        let stacked = group * tile.count
        let column = tile.keyHead * group * d
        let q = scratch
        let dO = q + stacked * d
        let dq = dO + stacked * d
        let p = dq + stacked * d
        let dp = p + stacked * tile.keys
        tile.stack(call.joint, ld: ld, column: column, group: group, d: d, into: q)
        tile.stack(dOut, ld: call.outColumns, column: column, group: group, d: d, into: dO)
        let k = call.joint + tile.key0 * ld + (shape.heads + tile.keyHead) * d
        let v = k + shape.keyValueHeads * d
        CPU.serialGemm(transposeB: true, m: stacked, n: tile.keys, k: d, alpha: shape.scale, a: q, lda: d, b: k, ldb: ld, c: p, ldc: tile.keys)
        CPU.serialGemm(transposeB: true, m: stacked, n: tile.keys, k: d, a: dO, lda: d, b: v, ldb: ld, c: dp, ldc: tile.keys)
        for row in 0..<stacked {
            let (member, t) = (row / tile.count, tile.first + row % tile.count)
            let delta = sumOfProducts(dO + row * d, out + t * call.outColumns + column + member * d, d)
            scoreGradients(
                p + row * tile.keys, dp + row * tile.keys, low: call.firstKey(t) - tile.key0, high: t - tile.key0 + 1, count: tile.keys,
                logSumExp: logSumExp[(tile.keyHead * group + member) * call.rows + t], delta: delta, shape: shape)
        }
        // dq = ds k;  dk += dsᵀ q;  dv += pᵀ dO  (the scale is in ds)
        CPU.serialGemm(m: stacked, n: d, k: tile.keys, a: dp, lda: tile.keys, b: k, ldb: ld, c: dq, ldc: d)
        tile.unstack(dq, group: group, d: d, into: dJoint, ld: ld, column: column)
        let to = sums + tile.key0 * 2 * d
        CPU.serialGemm(transposeA: true, m: tile.keys, n: d, k: stacked, a: dp, lda: tile.keys, b: q, ldb: d, beta: 1, c: to, ldc: 2 * d)
        CPU.serialGemm(transposeA: true, m: tile.keys, n: d, k: stacked, a: p, lda: tile.keys, b: dO, ldb: d, beta: 1, c: to + d, ldc: 2 * d)
    }

    /// Scores become probabilities p, and dp becomes scale * p * (dp - delta) (times the soft cap's slope); 0 outside low..<high.
    private static func scoreGradients(
        _ s: UnsafeMutablePointer<Float>, _ dp: UnsafeMutablePointer<Float>, low: Int, high: Int, count: Int, logSumExp: Float,
        delta: Float, shape: AttentionShape
    ) {
        clear(s, low, high, count)
        clear(dp, low, high, count)
        let (s, dp, n) = (s + low, dp + low, high - low)
        let scale = shape.scale
        if let cap = shape.softCap {
            applySoftCap(s, n, cap)
            for i in 0..<n { dp[i] = delta + (dp[i] - delta) * (1 - (s[i] / cap) * (s[i] / cap)) }
        }
        eachEight(n) { i in
            let p = exponential(load8(s + i) - logSumExp)
            store8(p, s + i)
            store8(p * (load8(dp + i) - delta) * scale, dp + i)
        } rest: { i, lanes in
            let p = exponential(loadPartly(s + i, lanes) - logSumExp)
            storePartly(p, s + i, lanes)
            storePartly(p * (loadPartly(dp + i, lanes) - delta) * scale, dp + i, lanes)
        }
    }
}
