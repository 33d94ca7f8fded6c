import CVector

/// y[i · ldy + r] += Σ_c W[r, c] · x[i, c] for r < rows, i < count: the inner step of decoding.
///
/// A row of x gives the same bits alone and together with others: see `dots.h`.
///
/// - Parameters:
///   - weights: [rows, length], `ldw` floats from row to row.
///   - x: [count, length], `ldx` floats from row to row.
func addDots(
    weights: UnsafePointer<Float>, ldw: Int, rows: Int, length: Int, x: UnsafePointer<Float>, ldx: Int, count: Int,
    into y: UnsafeMutablePointer<Float>, ldy: Int
) {
    lorikeet_add_dots(weights, ldw, rows, length, x, ldx, count, y, ldy)
}

/// The products of all rows of `range` with one row of x, eight rows of stored weights at a time; what is left goes to `rest`.
///
/// - Parameters:
///   - y: where the first of `range` goes.
///   - eight: the products of the eight rows from this one on.
@inline(__always)
func multiplyByEights(
    _ range: Range<Int>, into y: UnsafeMutablePointer<Float>, eight: (Int) -> SIMD8<Float>, rest: (Range<Int>, UnsafeMutablePointer<Float>) -> Void
) {
    let whole = range.count & ~7
    for offset in stride(from: 0, to: whole, by: 8) { store8(eight(range.lowerBound + offset), y + offset) }
    if whole < range.count { rest(range.lowerBound + whole..<range.upperBound, y + whole) }
}

/// Eight floats from any address.
@inline(__always)
func load8(_ p: UnsafePointer<Float>) -> SIMD8<Float> {
    UnsafeRawPointer(p).loadUnaligned(as: SIMD8<Float>.self)
}

/// Eight floats to any address.
@inline(__always)
func store8(_ value: SIMD8<Float>, _ p: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(p).storeBytes(of: value, as: SIMD8<Float>.self)
}
