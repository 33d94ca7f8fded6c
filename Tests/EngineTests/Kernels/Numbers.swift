@testable import LorikeetGround
import LorikeetEngine

/// Plain arithmetic in double precision for the kernels' tests.
enum Numbers {
    /// Reproducible values in ±scale.
    static func noise(_ count: Int, seed: UInt64, scale: Double = 1) -> [Double] {
        (0..<count).map { (Double(mix64(seed &* 7919 &+ UInt64($0)) >> 11) / Double(1 << 52) - 1) * scale }
    }

    static func floats(_ values: [Double]) -> [Float] { values.map { Float($0) } }

    /// Doubles of the same values as the floats: so that rounding the input is no part of what is compared.
    static func rounded(_ values: [Double]) -> [Double] { values.map { Double(Float($0)) } }

    /// Largest difference, relative to the largest value (at least `floor`); NaN where a number is NaN.
    static func difference(_ a: [Float], _ b: [Double], floor: Double = 1e-6) -> Double {
        guard a.count == b.count, !b.isEmpty else { return .infinity }
        let largest = b.reduce(floor) { maximumOrNaN($0, abs($1)) }
        return zip(a, b).reduce(0) { maximumOrNaN($0, abs(Double($1.0) - $1.1)) } / largest
    }

    /// Checks a hand-derived gradient of a double-precision function against central differences, element by element.
    static func slopeError(_ gradient: [Double], at x: [Double], _ f: ([Double]) -> Double) -> Double {
        var worst = 0.0
        let largest = gradient.reduce(1e-6) { maximumOrNaN($0, abs($1)) }
        for i in x.indices {
            let step = 1e-5
            var (above, below) = (x, x)
            above[i] += step
            below[i] -= step
            worst = maximumOrNaN(worst, abs((f(above) - f(below)) / (2 * step) - gradient[i]) / largest)
        }
        return worst
    }

    /// Sums of a few thousand products in float32.
    static let tolerance = 3e-5
    /// Central differences in double with a step of 1e-5.
    static let slopeTolerance = 1e-6
}
