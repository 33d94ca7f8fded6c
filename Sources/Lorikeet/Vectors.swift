/// How near two lists of numbers are, in double precision.
enum Vectors {
    /// Of the angle between them; 1 where both are zero: B's gradient aside, A's is zero while B is.
    static func cosine<A: Collection<Float>, B: Collection<Float>>(_ a: A, _ b: B) -> Double {
        var (product, x, y) = (0.0, 0.0, 0.0)
        for (p, q) in zip(a, b) {
            product += Double(p) * Double(q)
            x += Double(p) * Double(p)
            y += Double(q) * Double(q)
        }
        if x == 0, y == 0 { return 1 }
        return product / (x * y).squareRoot()
    }

    /// L2 norm of the difference, of b's norm where that is not zero.
    static func distance<A: Collection<Float>, B: Collection<Float>>(_ a: A, _ b: B) -> Double {
        guard a.count == b.count else { return .infinity }
        var (difference, norm) = (0.0, 0.0)
        for (x, y) in zip(a, b) {
            difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
            norm += Double(y) * Double(y)
        }
        return norm > 0 ? (difference / norm).squareRoot() : difference.squareRoot()
    }

    /// An adapter matrix's name without what all of them begin with.
    static func short(_ name: String) -> String {
        name.hasPrefix("base_model.model.model.") ? String(name.dropFirst("base_model.model.model.".count)) : name
    }
}
