import LorikeetDevices

/// Attention of segments of which some go on from others: what texts begin with is there once.
extension AttentionKernels {
    /// The segments of a batch, row by row; see `TokenBatch`.
    struct Segments {
        let starts: UnsafePointer<Int32>
        let parents: UnsafePointer<Int32>
        let rows: Int

        init(starts: UnsafePointer<Int32>, parents: UnsafePointer<Int32>, rows: Int) { (self.starts, self.parents, self.rows) = (starts, parents, rows) }

        /// The row behind the segment that starts at `start`.
        func end(of start: Int) -> Int {
            var row = start
            while row < rows, Int(starts[row]) == start { row += 1 }
            return row
        }
    }

    /// Rows of one segment, and the keys that any of them sees: rows of the segment it goes on from, then its own up to the last of these rows.
    private struct Piece {
        let first, count: Int
        let parent: Range<Int>
        let own: Range<Int>
        /// Position in the text of the first row, and of the first key.
        let position, keyPosition: Int

        var keys: Int { parent.count + own.count }

        /// Keys that the piece's row `i` sees: it and all before it, or as many as the window holds.
        func visible(_ i: Int, window: Int?) -> Range<Int> {
            let last = position + i
            return max(0, last - (window ?? last + 1) + 1 - keyPosition)..<last - keyPosition + 1
        }
    }

    private static func pieces(_ segments: Segments, _ shape: AttentionShape) -> [Piece] {
        var pieces: [Piece] = []
        let height = tileRows(shape)
        var start = 0
        while start < segments.rows {
            let end = segments.end(of: start)
            let parent = Int(segments.parents[start])
            let before = parent < 0 ? 0..<0 : parent..<segments.end(of: parent)
            for first in stride(from: start, to: end, by: height) {
                let last = min(end, first + height)
                let position = before.count + first - start
                let seen = max(0, position - (shape.window ?? position + 1) + 1)
                pieces.append(
                    Piece(
                        first: first, count: last - first, parent: before.dropFirst(seen), own: start + max(0, seen - before.count)..<last,
                        position: position, keyPosition: seen))
            }
            start = end
        }
        return pieces
    }

    /// Overwrites out [T, H·D] and logSumExp [H, T]. A row gets the bits that it would get with its whole text in one segment.
    static func forward(
        joint: UnsafePointer<Float>, segments: Segments, out: UnsafeMutablePointer<Float>, logSumExp: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, shape: AttentionShape, cpu: CPU
    ) {
        let pieces = pieces(segments, shape)
        let perWorker = scratchFloats(rows: segments.rows, shape: shape)
        let (height, d, ld, group) = (tileRows(shape), shape.headDimension, shape.jointColumns, shape.heads / shape.keyValueHeads)
        let outColumns = shape.heads * d
        cpu.parallelRanges(over: shape.keyValueHeads * pieces.count) { range, worker in
            let q = scratch + worker * perWorker
            let result = q + group * height * d
            let scores = result + group * height * d
            for unit in range {
                let (piece, keyHead) = (pieces[balanced(unit % pieces.count, of: pieces.count)], unit / pieces.count)
                let (stacked, keys) = (group * piece.count, piece.keys)
                for head in 0..<group {
                    for i in 0..<piece.count {
                        (q + (head * piece.count + i) * d).update(from: joint + (piece.first + i) * ld + (keyHead * group + head) * d, count: d)
                    }
                }
                let k = joint + (shape.heads + keyHead) * d
                for (rows, column) in [(piece.parent, 0), (piece.own, piece.parent.count)] where !rows.isEmpty {
                    CPU.serialGemm(
                        transposeB: true, m: stacked, n: rows.count, k: d, alpha: shape.scale, a: q, lda: d, b: k + rows.lowerBound * ld, ldb: ld,
                        c: scores + column, ldc: keys)
                }
                for row in 0..<stacked {
                    let (head, i) = (keyHead * group + row / piece.count, row % piece.count)
                    let visible = piece.visible(i, window: shape.window)
                    logSumExp[head * segments.rows + piece.first + i] = softmax(
                        scores + row * keys, low: visible.lowerBound, high: visible.upperBound, count: keys, cap: shape.softCap)
                }
                // One sum over all keys, so that it does not matter whose segment they are in.
                let v = k + shape.keyValueHeads * d
                let gathered = scores + stacked * keys
                if piece.parent.isEmpty {
                    CPU.serialGemm(m: stacked, n: d, k: keys, a: scores, lda: keys, b: v + piece.own.lowerBound * ld, ldb: ld, c: result, ldc: d)
                } else {
                    for (i, row) in [piece.parent, piece.own].joined().enumerated() { (gathered + i * d).update(from: v + row * ld, count: d) }
                    CPU.serialGemm(m: stacked, n: d, k: keys, a: scores, lda: keys, b: gathered, ldb: d, c: result, ldc: d)
                }
                for head in 0..<group {
                    for i in 0..<piece.count {
                        (out + (piece.first + i) * outColumns + (keyHead * group + head) * d).update(from: result + (head * piece.count + i) * d, count: d)
                    }
                }
            }
        }
    }
}
