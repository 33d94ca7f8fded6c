/// One number beside its limit.
package struct Deviation: Sendable, Equatable {
    package let name: String
    /// 0 or more; NaN where it could not be measured.
    package let measured: Double
    /// 0: has to be equal.
    package let tolerance: Double

    package init(name: String, measured: Double, tolerance: Double) {
        (self.name, self.measured, self.tolerance) = (name, measured, tolerance)
    }

    /// A number that is NaN, infinite or negative passes no limit.
    package var passes: Bool { measured.isFinite && measured >= 0 && measured <= tolerance }

    package var line: String {
        let mark = passes ? "pass" : "FAIL"
        return "\(mark)  \(name): \(Float(measured)) (limit \(tolerance == 0 ? "equal" : "\(Float(tolerance))"))"
    }
}

/// The larger of two numbers, NaN where either is NaN; Swift's `max(0, .nan)` is 0.
package func maximumOrNaN(_ a: Double, _ b: Double) -> Double { a.isNaN || b.isNaN ? .nan : max(a, b) }
