import LorikeetEngine

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
