/// How near numbers are, in double precision. What cannot be compared (other lengths, nothing, NaN, infinity) is infinitely far, or has
/// a cosine of NaN: no limit lets it pass.
package enum Vectors {
    /// Cosine similarity, at most 1. Two zero vectors count as 1: while B is 0, A's gradient is 0.
    package static func cosine<A: Collection<Float>, B: Collection<Float>>(_ a: A, _ b: B) -> Double {
        guard a.count == b.count, !a.isEmpty else { return .nan }
        var (product, x, y) = (0.0, 0.0, 0.0)
        for (p, q) in zip(a, b) {
            product += Double(p) * Double(q)
            x += Double(p) * Double(p)
            y += Double(q) * Double(q)
        }
        if x == 0, y == 0 { return 1 }
        // Rounding may leave 1 by a last digit; NaN stays NaN.
        let cosine = product / (x.squareRoot() * y.squareRoot())
        return cosine > 1 ? 1 : cosine
    }

    /// L2 norm of the difference, of b's norm where that is not zero.
    package static func distance<A: Collection<Float>, B: Collection<Float>>(_ a: A, _ b: B) -> Double {
        guard a.count == b.count, !a.isEmpty else { return .infinity }
        var (difference, norm) = (0.0, 0.0)
        for (x, y) in zip(a, b) {
            difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
            norm += Double(y) * Double(y)
        }
        guard difference.isFinite, norm.isFinite else { return .infinity }
        return norm > 0 ? (difference / norm).squareRoot() : difference.squareRoot()
    }

    /// |a - b| / |b|; infinite where either is not finite or b is 0 and a is not.
    package static func relative(_ a: Double, to b: Double) -> Double {
        guard a.isFinite, b.isFinite else { return .infinity }
        return a == b ? 0 : abs(a - b) / abs(b)
    }

    /// An adapter matrix's name without what all of them begin with.
    package static func short(_ name: String) -> String {
        name.hasPrefix("base_model.model.model.") ? String(name.dropFirst("base_model.model.model.".count)) : name
    }
}
