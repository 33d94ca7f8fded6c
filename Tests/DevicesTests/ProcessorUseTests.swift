import Testing

@testable import LorikeetDevices

/// What other processes take of the processors, from two readings.
struct ProcessorUseTests {
    /// Two readings of a machine of `processors`, `seconds` apart, in which this process and others kept processors busy.
    private func readings(_ processors: Int, seconds: Double, own: Double, others: Double) -> (ProcessorUse, ProcessorUse) {
        let before = ProcessorUse(total: 4000, busy: 1000, own: 7)
        var after = before
        after.total += Double(processors) * seconds
        after.busy += own + others
        after.own += own
        return (before, after)
    }

    @Test func `work that had the machine for itself was not slowed`() {
        let (before, after) = readings(2, seconds: 90, own: 175, others: 0)
        #expect(after.slowdown(of: 2, since: before, processors: 2) == 1)
        // More threads than processors share them among themselves.
        #expect(after.slowdown(of: 8, since: before, processors: 2) == 1)
    }

    @Test func `others slow by what they take, where too little is left`() {
        // Two threads and two others: each gets half a processor.
        let (before, after) = readings(2, seconds: 90, own: 90, others: 90)
        #expect(after.slowdown(of: 2, since: before, processors: 2) == 2)
        // 32 of 64 processors leave enough for two threads, and half of what 64 would take.
        let (start, end) = readings(64, seconds: 10, own: 20, others: 320)
        #expect(end.slowdown(of: 2, since: start, processors: 64) == 1)
        #expect(end.slowdown(of: 64, since: start, processors: 64) == 2)
        // Nothing left: no number is infinite.
        let (first, last) = readings(2, seconds: 10, own: 0, others: 20)
        #expect(last.slowdown(of: 2, since: first, processors: 2) == 8)
    }

    @Test func `others are expected to go on as they do`() {
        func expected(_ threads: Int, _ processors: Int, own: Double, others: Double, demand: Double) -> Double {
            let (before, after) = readings(processors, seconds: 1, own: own, others: others)
            let factor = after.expectedSlowdown(of: threads, since: before, demand: demand, processors: processors)
            // Sums of seconds are not exact.
            return (factor * 1e6).rounded() / 1e6
        }
        // A moment in which others took turns with a probe says nothing where they had nothing to do before.
        #expect(expected(2, 2, own: 1.1, others: 0, demand: 4) == 1)
        #expect(expected(1, 1, own: 1, others: 0, demand: 4) == 1)
        // One other process on two processors: three threads share them.
        #expect(expected(2, 2, own: 0.5, others: 1, demand: 0.7) == 1.5)
        // Where all are busy, what others get is less than what they want.
        #expect(expected(2, 2, own: 0.4, others: 1.6, demand: 4) == 3)
        #expect(expected(2, 64, own: 1, others: 40, demand: 40) == 1)
    }

    @Test func `a moment, or a system that does not say, is taken for a machine without other work`() {
        let (before, after) = readings(2, seconds: 0.04, own: 0.01, others: 0.06)
        #expect(after.slowdown(of: 2, since: before, processors: 2) == 1)
        #expect(after.expectedSlowdown(of: 2, since: before, demand: 3, processors: 2) == 1)
        let nothing = ProcessorUse(total: 0, busy: 0, own: 12)
        #expect(nothing.slowdown(of: 2, since: ProcessorUse(total: 0, busy: 0, own: 3), processors: 2) == 1)
    }

    @Test func `readings of this machine do not go back`() {
        let first = ProcessorUse.now()
        let start = Machine.threadSeconds()
        var sum = 0.0
        while Machine.threadSeconds() - start < 0.02 { sum += Machine.threadSeconds() }
        let second = ProcessorUse.now()
        #expect(second.own - first.own >= 0.02 && second.total >= first.total && second.busy >= first.busy && sum > 0)
        #expect(second.busy <= second.total && Machine.allProcessors() >= 1)
    }
}
