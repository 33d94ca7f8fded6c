import LorikeetDevices
import LorikeetGround
import Testing

@testable import LorikeetEngine

/// What `lorikeet doctor` says of the programs.
struct ProgramChecksTests {
    @Test func `the programs of every family are verified for a processor and for each type of a card`() throws {
        let checks = try ProgramChecks.run(for: VerifyTests.targets)
        #expect(checks.error == nil, "\(checks.violations)")
        #expect(checks.families == Families.table.map { $0.huggingFace.modelType })
        // Fused and plain. Training: two sets of linears, with dropout and without, each nothing recomputed, norms, and every way of
        // recomputing a block. Evaluation and decoding: two sets of linears. And each optimiser's step.
        let training = 2 * 2 * (2 + PassPolicy.Repeated.allCases.count)
        let perFamily = 2 * (training + 2 * 2)
        #expect(checks.passed == VerifyTests.targets.count * (Families.table.count * perFamily + Optimisers.table.count))
        #expect(checks.summary.hasPrefix("\(checks.passed) verified (llama, "))
    }

    @Test func `a broken program is exit 1 with its op and value named`() throws {
        var checks = ProgramChecks()
        checks.add(try VerifyTests.program(.cpu(threads: 1)), "whole")
        #expect(checks.passed == 1 && checks.error == nil)
        checks.add(VerifyTests.changed(try VerifyTests.program(.cpu(threads: 1))) { ops, _ in ops.removeAll { $0.op is Embedding } }, "heron")
        let error = try #require(checks.error)
        #expect(error.exit == .checkFailed && checks.passed == 1)
        for word in ["heron, training", "op 0 (rmsnorm)", "'embedding'"] { #expect(error.description.contains(word), "\(error)") }
        #expect(checks.summary.contains("violations"))
    }

    @Test func `a check that looked at nothing is no pass`() { #expect(ProgramChecks().error?.exit == .checkFailed) }
}
