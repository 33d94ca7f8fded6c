import CVector
import Glibc

/// e^x for eight lanes; see `lorikeet_exp8`.
@inline(__always)
func exponential(_ x: SIMD8<Float>) -> SIMD8<Float> { lorikeet_exp8(x) }

/// The larger of each pair of lanes.
@inline(__always)
func larger(_ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> { lorikeet_max8(a, b) }

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
