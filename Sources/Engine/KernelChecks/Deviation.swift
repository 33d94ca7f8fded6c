/// One number beside its limit.
package struct Deviation: Sendable, Equatable {
    package let name: String
    package let measured: Double
    /// 0: has to be equal.
    package let tolerance: Double

    package init(name: String, measured: Double, tolerance: Double) {
        (self.name, self.measured, self.tolerance) = (name, measured, tolerance)
    }

    package var passes: Bool { measured <= tolerance }

    package var line: String {
        let mark = passes ? "pass" : "FAIL"
        return "\(mark)  \(name): \(Float(measured)) (limit \(tolerance == 0 ? "equal" : "\(Float(tolerance))"))"
    }
}
