import LorikeetReporting

/// By which factors, 1 or more, a run's phases take longer than alone, because other processes work beside them.
package struct Slowdown: Sendable, Equatable {
    /// Phases in which one thread works, and those in which all do.
    package var oneThread = 1.0
    package var allThreads = 1.0

    /// Nothing is slower.
    package init() {}

    /// - Parameter shares: by which factor work of so many threads takes longer by its share of the processors (`ProcessorUse`).
    package init(threads: Int, shares: (_ threads: Int) -> Double) {
        (oneThread, allThreads) = (Self.factor(shares: shares(1)), Self.factor(shares: shares(threads)))
    }

    /// The factor of the phase of this name.
    package func of(_ phase: String) -> Double { PlannedPhase.named(phase).usesAllThreads ? allThreads : oneThread }

    /// By which factor work takes longer than alone, from the factor that its share of the processors gives. A second that others take costs more than itself:
    /// the other threads wait for the one that was interrupted, and the caches hold others' data. On two cores beside two compilers steps took 6.3 times as
    /// long where shares alone would give 4.3.
    static func factor(shares: Double) -> Double { 1 + 1.6 * (max(1, shares) - 1) }
}
