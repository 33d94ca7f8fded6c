import Glibc

/// e^x for eight lanes, within 2 units in the last place; below -87.3 it is 0, above 88.3 it stays at e^88.3.
///
/// Cephes' expf: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 5 for e^r, and 2^n put into the exponent.
@inline(__always)
func exponential(_ value: SIMD8<Float>) -> SIMD8<Float> {
    let x = value.clamped(lowerBound: SIMD8(repeating: -87.3), upperBound: SIMD8(repeating: 88.3))
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    let magic = SIMD8<Float>(repeating: 12_582_912)
    let shifted = magic.addingProduct(x, SIMD8(repeating: 1.442_695_04))
    let n = shifted - magic
    let r = x.addingProduct(n, SIMD8(repeating: -0.693_359_375)).addingProduct(n, SIMD8(repeating: 2.121_944_4e-4))
    var p = SIMD8<Float>(repeating: 1.987_569_15e-4)
    p = SIMD8(repeating: 1.398_199_95e-3).addingProduct(p, r)
    p = SIMD8(repeating: 8.333_451_9e-3).addingProduct(p, r)
    p = SIMD8(repeating: 4.166_579_6e-2).addingProduct(p, r)
    p = SIMD8(repeating: 1.666_666_55e-1).addingProduct(p, r)
    p = SIMD8(repeating: 5.000_000_1e-1).addingProduct(p, r)
    let y = (r + 1).addingProduct(p, r * r)
    let exponent = unsafeBitCast(shifted, to: SIMD8<Int32>.self) &<< 23
    let result = unsafeBitCast(unsafeBitCast(y, to: SIMD8<Int32>.self) &+ exponent, to: SIMD8<Float>.self)
    return result.replacing(with: 0, where: value .< SIMD8(repeating: -87.3))
}

/// tanh x = 1 - 2 / (e^2x + 1).
@inline(__always)
func hyperbolicTangent(_ x: SIMD8<Float>) -> SIMD8<Float> {
    1 - 2 / (exponential(x + x) + 1)
}

/// Applies `body` to eight lanes at a time; the rest goes through a padded vector. `count` floats from each pointer.
@inline(__always)
func eachEight(_ count: Int, _ whole: (_ index: Int) -> Void, rest: (_ index: Int, _ lanes: Int) -> Void) {
    var i = 0
    while i + 8 <= count {
        whole(i)
        i += 8
    }
    if i < count { rest(i, count - i) }
}

/// The first `lanes` floats at `p`, the others `fill`.
@inline(__always)
func loadPartly(_ p: UnsafePointer<Float>, _ lanes: Int, fill: Float = 0) -> SIMD8<Float> {
    var v = SIMD8<Float>(repeating: fill)
    for i in 0..<lanes { v[i] = p[i] }
    return v
}

@inline(__always)
func storePartly(_ v: SIMD8<Float>, _ p: UnsafeMutablePointer<Float>, _ lanes: Int) {
    for i in 0..<lanes { p[i] = v[i] }
}

/// The natural logarithm of one float, by the C library.
@inline(__always)
func logarithm(_ x: Float) -> Float { logf(x) }
