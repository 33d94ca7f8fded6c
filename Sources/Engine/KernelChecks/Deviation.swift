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

/// What a check came to: its numbers, and what it could not look at.
package struct CheckReport: Sendable {
    /// A part of the check that did not happen, which is no pass.
    package struct NotTested: Sendable, Equatable {
        package let name: String
        package let reason: String

        package init(_ name: String, _ reason: String) { (self.name, self.reason) = (name, reason) }

        package var line: String { "not tested  \(name): \(reason)" }
    }

    package var results: [Deviation]
    package var notTested: [NotTested]

    package init(results: [Deviation] = [], notTested: [NotTested] = []) { (self.results, self.notTested) = (results, notTested) }

    package var failed: Int { results.count { !$0.passes } }

    /// Everything was tested, something was, and all of it passed.
    package var passes: Bool { failed == 0 && notTested.isEmpty && !results.isEmpty }

    /// `12 passed, 0 failed, 3 not tested`.
    package var summary: String { "\(results.count - failed) passed, \(failed) failed" + (notTested.isEmpty ? "" : ", \(notTested.count) not tested") }

    package static func + (a: CheckReport, b: CheckReport) -> CheckReport {
        CheckReport(results: a.results + b.results, notTested: a.notTested + b.notTested)
    }
}

/// The larger of two numbers, NaN where either is NaN; Swift's `max(0, .nan)` is 0.
package func maximumOrNaN(_ a: Double, _ b: Double) -> Double { a.isNaN || b.isNaN ? .nan : max(a, b) }
