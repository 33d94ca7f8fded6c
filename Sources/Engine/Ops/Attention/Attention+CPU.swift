import LorikeetDevices

/// Packed causal attention in tiles: scores of a tile exist only in a worker's scratch.
///
/// A tile holds at most `tileRows` rows of one segment. The query heads that share a key head are stacked: a tile holds these rows of each, so that
/// one product serves the whole group and dk, dv come out summed over it. It sees the keys from its first row's first visible key to its last row,
/// in the segment that its own goes on from and in its own; the causal triangle and the window inside that range are masked by zero probabilities.
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

    /// The tiles of all key heads in the order in which workers take them: those at `places`, for as many key heads in turn as keep all threads
    /// busy. Few threads so stay with the keys of one head, which their caches hold.
    static func units(_ places: [Int], keyHeads: Int, threads: Int) -> [(keyHead: Int, place: Int)] {
        let together = max(1, threads / shares)
        return stride(from: 0, to: keyHeads, by: together).flatMap { first in
            places.flatMap { place in (first..<min(keyHeads, first + together)).map { ($0, place) } }
        }
    }

    /// Overwrites out [T, H·D] and logSumExp [H, T]. A row gets what it would with its whole text in one segment, within rounding.
    static func forward(
        joint: UnsafePointer<Float>, segments: AttentionSegments, out: UnsafeMutablePointer<Float>, logSumExp: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, shape: AttentionShape, cpu: CPU
    ) {
        let tiles = segments.tiles(of: tileRows(shape), window: shape.window)
        let perWorker = scratchFloats(rows: segments.rows, shape: shape)
        let (height, d, ld, group) = (tileRows(shape), shape.headDimension, shape.jointColumns, shape.heads / shape.keyValueHeads)
        // In a long segment later tiles see more keys: these first, so that all workers end at about the same time.
        let places = tiles.indices.sorted { tiles[$0].count * tiles[$0].keys > tiles[$1].count * tiles[$1].keys }
        let units = units(places, keyHeads: shape.keyValueHeads, threads: cpu.threads)
        cpu.parallelUnits(units.count) { number, worker in
            let q = scratch + worker * perWorker
            let result = q + group * height * d
            let scores = result + group * height * d
            let (tile, keyHead) = (tiles[units[number].place], units[number].keyHead)
            let (stacked, keys, column) = (group * tile.count, tile.keys, keyHead * group * d)
            tile.stack(joint, ld: ld, column: column, group: group, d: d, into: q)
            let k = joint + (shape.heads + keyHead) * d
            for (rows, first) in tile.parts {
                CPU.serialGemm(
                    transposeB: true, m: stacked, n: rows.count, k: d, alpha: shape.scale, a: q, lda: d, b: k + rows.lowerBound * ld, ldb: ld,
                    c: scores + first, ldc: keys)
            }
            for row in 0..<stacked {
                let (head, i) = (keyHead * group + row / tile.count, row % tile.count)
                let visible = tile.visible(i, window: shape.window)
                logSumExp[head * segments.rows + tile.first + i] = softmax(
                    scores + row * keys, low: visible.lowerBound, high: visible.upperBound, count: keys, cap: shape.softCap)
            }
            // One sum over all keys, so that it does not matter whose segment they are in.
            let v = k + shape.keyValueHeads * d
            let gathered = scores + stacked * keys
            if tile.parent.isEmpty {
                CPU.serialGemm(m: stacked, n: d, k: keys, a: scores, lda: keys, b: v + tile.own.lowerBound * ld, ldb: ld, c: result, ldc: d)
            } else {
                for (i, row) in [tile.parent, tile.own].joined().enumerated() { (gathered + i * d).update(from: v + row * ld, count: d) }
                CPU.serialGemm(m: stacked, n: d, k: keys, a: scores, lda: keys, b: gathered, ldb: d, c: result, ldc: d)
            }
            tile.unstack(result, group: group, d: d, into: out, ld: shape.heads * d, column: column)
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

    /// What the backward pass reads.
    struct BackwardInputs {
        /// [T, H·D] and [T, (H+2K)·D].
        let dOut, joint: UnsafePointer<Float>
        /// What `forward` made.
        let out, logSumExp: UnsafePointer<Float>
        let segments: AttentionSegments
    }

    /// Overwrites dJoint [T, (H+2K)·D].
    ///
    /// Any worker may take any tile; only the additions to an accumulator of dk and dv come in the order of its tiles.
    ///
    /// - Parameter sums: [K, shares, T, 2·D], dk and dv of each key head by share; added up at the end in that order.
    static func backward(
        _ inputs: BackwardInputs, dJoint: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, sums: UnsafeMutablePointer<Float>,
        shape: AttentionShape, cpu: CPU
    ) {
        let tiles = inputs.segments.tiles(of: tileRows(shape), window: shape.window)
        let (rows, d, ld, group) = (inputs.segments.rows, shape.headDimension, shape.jointColumns, shape.heads / shape.keyValueHeads)
        let perWorker = scratchFloats(rows: rows, shape: shape)
        let size = rows * 2 * d
        // Each accumulator's first place clears it, also where it has no tile.
        let units = units(Array(0..<max(tiles.count, shares)), keyHeads: shape.keyValueHeads, threads: cpu.threads)
        let turns = Turns(lines: 2 * shape.keyValueHeads * shares)
        cpu.parallelUnits(units.count) { number, worker in
            let (keyHead, place) = units[number]
            let accumulator = keyHead * shares + place % shares
            let dk = sums + accumulator * size
            if place < shares { dk.update(repeating: 0, count: size) }
            guard place < tiles.count else { return }
            let tile = tiles[place]
            let own = TileScratch(scratch + worker * perWorker, rows: group * tile.count, keys: tile.keys, d: d)
            scoreGradients(inputs, tile, keyHead: keyHead, own, dJoint: dJoint, shape: shape)
            // dk += dsᵀ q;  dv += pᵀ dO  (the scale is in ds)
            turns.take(place / shares, in: 2 * accumulator) { addTransposed(own.dp, own.q, tile, own, to: dk) }
            turns.take(place / shares, in: 2 * accumulator + 1) { addTransposed(own.p, own.dO, tile, own, to: dk + d) }
        }
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                for keyHead in 0..<shape.keyValueHeads {
                    let a = sums + keyHead * shares * size + row * 2 * d
                    let dk = dJoint + row * ld + (shape.heads + keyHead) * d
                    let dv = dk + shape.keyValueHeads * d
                    for i in 0..<d {
                        dk[i] = a[i] + a[size + i]
                        dv[i] = a[d + i] + a[size + d + i]
                    }
                }
            }
        }
    }

    /// What a worker keeps of one tile: stacked rows of q, dout and dq [rows, d], and of p and dp [rows, keys].
    private struct TileScratch {
        let rows, keys, d: Int
        let q, dO, dq, p, dp: UnsafeMutablePointer<Float>

        init(_ scratch: UnsafeMutablePointer<Float>, rows: Int, keys: Int, d: Int) {
            (self.rows, self.keys, self.d) = (rows, keys, d)
            q = scratch
            dO = q + rows * d
            dq = dO + rows * d
            p = dq + rows * d
            dp = p + rows * keys
        }
    }

    /// A tile's p and ds (in dp's place), and its dq, which is written to dJoint.
    private static func scoreGradients(
        _ inputs: BackwardInputs, _ tile: AttentionTile, keyHead: Int, _ own: TileScratch, dJoint: UnsafeMutablePointer<Float>, shape: AttentionShape
    ) {
        let (d, ld, group, keys, stacked) = (own.d, shape.jointColumns, shape.heads / shape.keyValueHeads, own.keys, own.rows)
        let (column, outColumns) = (keyHead * group * d, shape.heads * d)
        tile.stack(inputs.joint, ld: ld, column: column, group: group, d: d, into: own.q)
        tile.stack(inputs.dOut, ld: outColumns, column: column, group: group, d: d, into: own.dO)
        let k = inputs.joint + (shape.heads + keyHead) * d
        let v = k + shape.keyValueHeads * d
        for (rows, first) in tile.parts {
            let row = rows.lowerBound * ld
            CPU.serialGemm(
                transposeB: true, m: stacked, n: rows.count, k: d, alpha: shape.scale, a: own.q, lda: d, b: k + row, ldb: ld, c: own.p + first, ldc: keys)
            CPU.serialGemm(transposeB: true, m: stacked, n: rows.count, k: d, a: own.dO, lda: d, b: v + row, ldb: ld, c: own.dp + first, ldc: keys)
        }
        for row in 0..<stacked {
            let (member, i) = (row / tile.count, row % tile.count)
            let t = tile.first + i
            let delta = sumOfProducts(own.dO + row * d, inputs.out + t * outColumns + column + member * d, d)
            let visible = tile.visible(i, window: shape.window)
            scoreGradients(
                own.p + row * keys, own.dp + row * keys, low: visible.lowerBound, high: visible.upperBound, count: keys,
                logSumExp: inputs.logSumExp[(keyHead * group + member) * inputs.segments.rows + t], delta: delta, shape: shape)
        }
        // dq = ds k
        for (part, (rows, first)) in tile.parts.enumerated() {
            CPU.serialGemm(
                m: stacked, n: d, k: rows.count, a: own.dp + first, lda: keys, b: k + rows.lowerBound * ld, ldb: ld, beta: part == 0 ? 0 : 1,
                c: own.dq, ldc: d)
        }
        tile.unstack(own.dq, group: group, d: d, into: dJoint, ld: ld, column: column)
    }

    /// sums [T, 2·D] += scoresᵀ b at the rows of the tile's keys; scores [stacked rows, keys], b [stacked rows, d].
    private static func addTransposed(
        _ scores: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ tile: AttentionTile, _ own: TileScratch, to sums: UnsafeMutablePointer<Float>
    ) {
        for (rows, first) in tile.parts {
            CPU.serialGemm(
                transposeA: true, m: rows.count, n: own.d, k: own.rows, a: scores + first, lda: own.keys, b: b, ldb: own.d, beta: 1,
                c: sums + rows.lowerBound * 2 * own.d, ldc: 2 * own.d)
        }
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
