/// y[i · ldy + r] += Σ_c W[r, c] · x[i, c] for r < rows, i < count: the inner step of decoding.
///
/// Four rows of weights and two of x share their loads: eight sums of eight lanes, what AVX2 needs to keep both of its
/// multipliers busy. Every sum is taken in the same order (eight lanes along c, lanes in order, then the tail),
/// whatever other rows are computed with it: a row of x gives the same bits alone and together with others.
///
/// - Parameters:
///   - weights: [rows, length], `ldw` floats from row to row; at most 4 rows go together.
///   - x: [count, length], `ldx` floats from row to row.
func addDots(
    weights: UnsafePointer<Float>, ldw: Int, rows: Int, length: Int, x: UnsafePointer<Float>, ldx: Int, count: Int,
    into y: UnsafeMutablePointer<Float>, ldy: Int
) {
    var row = 0
    while row + 4 <= rows {
        let w = weights + row * ldw
        var i = 0
        while i + 2 <= count {
            addFourByTwo(w, ldw, length, x + i * ldx, ldx, y + (i * ldy + row), ldy)
            i += 2
        }
        if i < count { addFourByOne(w, ldw, length, x + i * ldx, y + (i * ldy + row)) }
        row += 4
    }
    while row < rows {
        for i in 0..<count { y[i * ldy + row] += dot(weights + row * ldw, x + i * ldx, length) }
        row += 1
    }
}

@inline(__always)
private func addFourByTwo(
    _ w: UnsafePointer<Float>, _ ldw: Int, _ length: Int, _ x: UnsafePointer<Float>, _ ldx: Int,
    _ y: UnsafeMutablePointer<Float>, _ ldy: Int
) {
    let (w1, w2, w3, x1) = (w + ldw, w + 2 * ldw, w + 3 * ldw, x + ldx)
    var a0 = SIMD8<Float>.zero, a1 = SIMD8<Float>.zero, a2 = SIMD8<Float>.zero, a3 = SIMD8<Float>.zero
    var b0 = SIMD8<Float>.zero, b1 = SIMD8<Float>.zero, b2 = SIMD8<Float>.zero, b3 = SIMD8<Float>.zero
    let whole = length & ~7
    var c = 0
    while c < whole {
        let first = load8(x + c)
        let second = load8(x1 + c)
        var weight = load8(w + c)
        a0.addProduct(weight, first)
        b0.addProduct(weight, second)
        weight = load8(w1 + c)
        a1.addProduct(weight, first)
        b1.addProduct(weight, second)
        weight = load8(w2 + c)
        a2.addProduct(weight, first)
        b2.addProduct(weight, second)
        weight = load8(w3 + c)
        a3.addProduct(weight, first)
        b3.addProduct(weight, second)
        c += 8
    }
    y[0] += a0.sum() + tail(w, x, whole, length)
    y[1] += a1.sum() + tail(w1, x, whole, length)
    y[2] += a2.sum() + tail(w2, x, whole, length)
    y[3] += a3.sum() + tail(w3, x, whole, length)
    y[ldy] += b0.sum() + tail(w, x1, whole, length)
    y[ldy + 1] += b1.sum() + tail(w1, x1, whole, length)
    y[ldy + 2] += b2.sum() + tail(w2, x1, whole, length)
    y[ldy + 3] += b3.sum() + tail(w3, x1, whole, length)
}

@inline(__always)
private func addFourByOne(
    _ w: UnsafePointer<Float>, _ ldw: Int, _ length: Int, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>
) {
    let (w1, w2, w3) = (w + ldw, w + 2 * ldw, w + 3 * ldw)
    var a0 = SIMD8<Float>.zero, a1 = SIMD8<Float>.zero, a2 = SIMD8<Float>.zero, a3 = SIMD8<Float>.zero
    let whole = length & ~7
    var c = 0
    while c < whole {
        let first = load8(x + c)
        a0.addProduct(load8(w + c), first)
        a1.addProduct(load8(w1 + c), first)
        a2.addProduct(load8(w2 + c), first)
        a3.addProduct(load8(w3 + c), first)
        c += 8
    }
    y[0] += a0.sum() + tail(w, x, whole, length)
    y[1] += a1.sum() + tail(w1, x, whole, length)
    y[2] += a2.sum() + tail(w2, x, whole, length)
    y[3] += a3.sum() + tail(w3, x, whole, length)
}

@inline(__always)
private func dot(_ w: UnsafePointer<Float>, _ x: UnsafePointer<Float>, _ length: Int) -> Float {
    var sum = SIMD8<Float>.zero
    let whole = length & ~7
    var c = 0
    while c < whole {
        sum.addProduct(load8(w + c), load8(x + c))
        c += 8
    }
    return sum.sum() + tail(w, x, whole, length)
}

@inline(__always)
private func tail(_ w: UnsafePointer<Float>, _ x: UnsafePointer<Float>, _ from: Int, _ to: Int) -> Float {
    var sum: Float = 0
    for c in from..<to { sum.addProduct(w[c], x[c]) }
    return sum
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
