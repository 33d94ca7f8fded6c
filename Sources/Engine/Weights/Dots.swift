/// y[i · ldy] += Σ_c weights[c] · x[i · ldx + c] for i < count (count at most 8, any length).
///
/// Eight sums of eight lanes at most: what fits in AVX2's registers. The order of the sum depends on `length` alone,
/// so that a row of `x` gives the same bits whatever stands in the other rows.
func addDots(
    weights: UnsafePointer<Float>, length: Int, x: UnsafePointer<Float>, ldx: Int, count: Int,
    into y: UnsafeMutablePointer<Float>, ldy: Int
) {
    var i = 0
    while i + 4 <= count {
        let p = x + i * ldx
        let sums = fourDots(weights, p, p + ldx, p + 2 * ldx, p + 3 * ldx, length)
        y[i * ldy] += sums[0]
        y[(i + 1) * ldy] += sums[1]
        y[(i + 2) * ldy] += sums[2]
        y[(i + 3) * ldy] += sums[3]
        i += 4
    }
    while i < count {
        y[i * ldy] += dot(weights, x + i * ldx, length)
        i += 1
    }
}

/// Σ a[c] · b[c], as two sums of eight lanes, the tail apart.
@inline(__always)
func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ length: Int) -> Float {
    var even = SIMD8<Float>.zero
    var odd = SIMD8<Float>.zero
    var c = 0
    while c + 16 <= length {
        even.addProduct(load8(a + c), load8(b + c))
        odd.addProduct(load8(a + c + 8), load8(b + c + 8))
        c += 16
    }
    var tail: Float = 0
    while c < length {
        tail.addProduct(a[c], b[c])
        c += 1
    }
    return (even + odd).sum() + tail
}

/// Four products with one reading of `a`; each in the same order of additions as `dot`.
@inline(__always)
private func fourDots(
    _ a: UnsafePointer<Float>, _ b0: UnsafePointer<Float>, _ b1: UnsafePointer<Float>, _ b2: UnsafePointer<Float>,
    _ b3: UnsafePointer<Float>, _ length: Int
) -> SIMD4<Float> {
    var even0 = SIMD8<Float>.zero, even1 = SIMD8<Float>.zero, even2 = SIMD8<Float>.zero, even3 = SIMD8<Float>.zero
    var odd0 = SIMD8<Float>.zero, odd1 = SIMD8<Float>.zero, odd2 = SIMD8<Float>.zero, odd3 = SIMD8<Float>.zero
    var c = 0
    while c + 16 <= length {
        let low = load8(a + c)
        let high = load8(a + c + 8)
        even0.addProduct(low, load8(b0 + c))
        even1.addProduct(low, load8(b1 + c))
        even2.addProduct(low, load8(b2 + c))
        even3.addProduct(low, load8(b3 + c))
        odd0.addProduct(high, load8(b0 + c + 8))
        odd1.addProduct(high, load8(b1 + c + 8))
        odd2.addProduct(high, load8(b2 + c + 8))
        odd3.addProduct(high, load8(b3 + c + 8))
        c += 16
    }
    var tail = SIMD4<Float>.zero
    while c < length {
        tail.addProduct(SIMD4(repeating: a[c]), SIMD4(b0[c], b1[c], b2[c], b3[c]))
        c += 1
    }
    return SIMD4((even0 + odd0).sum(), (even1 + odd1).sum(), (even2 + odd2).sum(), (even3 + odd3).sum()) + tail
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
