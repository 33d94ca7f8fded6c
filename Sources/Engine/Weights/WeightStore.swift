import CVector

/// A frozen matrix [rows, columns] in whatever form it is held: the linear op sees nothing else of a base model.
///
/// A store never changes after it is made; every method may be called from several threads at once.
package protocol WeightStore: Sendable {
    /// Output features; the first dimension of the matrix.
    var rows: Int { get }
    /// Input features; the last dimension, the fast one.
    var columns: Int { get }
    /// Memory that the matrix takes in this form, in bytes; equals `BaseStorage.bytes(rows:columns:stored:)`.
    var storedBytes: Int { get }
    /// Name of the form for listings: `nf4`, `q4_1`, `bf16`, `f32`, …
    var formatName: String { get }

    /// The matrix itself, row-major, where it is held as float32 already (no expansion needed); nil otherwise.
    var directFloats: UnsafePointer<Float>? { get }

    /// Writes rows `rows` as float32 into `destination` [rows.count, columns], overwriting it.
    func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>)

    /// Writes part of one row as float32 into `destination` [columns.count], overwriting it.
    ///
    /// `columns.lowerBound` must be a multiple of 256; `columns.upperBound` must be one too or the row's end.
    func expand(row: Int, columns: Range<Int>, into destination: UnsafeMutablePointer<Float>)

    /// y[i, r] = Σ_c x[i, c] · W[r, c] for r in `rows`: the product of decoding, straight from the codes.
    ///
    /// - Parameters:
    ///   - rows: rows of the matrix; split them over threads.
    ///   - x: [count, columns], dense.
    ///   - count: rows of `x`: few, since each is multiplied with every expanded weight on its own.
    ///   - y: where the first of `rows` goes: element (i, r) stands at `y[i * ldy + r - rows.lowerBound]`. Overwritten.
    ///   - ldy: floats from one row of `y` to the next.
    func multiply(
        rows: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int)
}

extension WeightStore {
    package var directFloats: UnsafePointer<Float>? { nil }

    package func multiply(
        rows: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int
    ) {
        multiplyByTiles(rows: rows, x: x, count: count, into: y, ldy: ldy)
    }

    /// Expands a tile of four rows at a time into the first-level cache and multiplies it with all rows of `x`.
    @inline(__always)
    func multiplyByTiles(
        rows: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int
    ) {
        let columns = self.columns
        let tile = min(columns, decodingTileColumns)
        withUnsafeTemporaryAllocation(byteCount: max(4 * tile, 1) * 4, alignment: 64) { raw in
            guard let base = raw.baseAddress else { return }
            let scratch = base.assumingMemoryBound(to: Float.self)
            for first in stride(from: rows.lowerBound, to: rows.upperBound, by: 4) {
                let group = min(4, rows.upperBound - first)
                let out = y + (first - rows.lowerBound)
                for i in 0..<count { (out + i * ldy).update(repeating: 0, count: group) }
                for start in stride(from: 0, to: columns, by: max(tile, 1)) {
                    let end = min(start + tile, columns)
                    for row in 0..<group {
                        expand(row: first + row, columns: start..<end, into: scratch + row * tile)
                    }
                    addDots(
                        weights: UnsafePointer(scratch), ldw: tile, rows: group, length: end - start, x: x + start,
                        ldx: columns, count: count, into: out, ldy: ldy)
                }
            }
        }
    }
}

/// Columns that `multiplyByTiles` expands at a time.
let decodingTileColumns = LORIKEET_TILE_COLUMNS
