/// How the phases that a plan predicts belong to the numbered steps that a run measures.
package struct PlannedPhase: Sendable, Equatable {
    /// As `plan.json` has it.
    package let name: String
    /// The numbered step that it is a part of; for most its own name.
    package let step: String
    /// The name under which its measured time is kept for later plans (`predictions.json`): a part without a clock of its own is measured with its step. nil
    /// where the time says little of the device: downloads are in it, or it is short.
    package let measuredAs: String?
    /// Whether all threads work on it, so that it is slower as soon as others take any processor; else one.
    package let usesAllThreads: Bool

    /// In a run's order.
    package static let all: [PlannedPhase] = [
        PlannedPhase("environment", measuredAs: nil), PlannedPhase("data", measuredAs: nil),
        PlannedPhase("formatting", measuredAs: "formatting", usesAllThreads: true), PlannedPhase("checks", measuredAs: nil),
        PlannedPhase("planning", measuredAs: nil), PlannedPhase("model loading", measuredAs: "model loading", usesAllThreads: true),
        // The first step waits for kernels; evaluations and checkpoints happen between steps.
        PlannedPhase("kernels", of: "training", measuredAs: "training", usesAllThreads: true),
        PlannedPhase("training", measuredAs: "training", usesAllThreads: true),
        PlannedPhase("evaluation", of: "training", measuredAs: "training", usesAllThreads: true),
        PlannedPhase("checkpoints", of: "training", measuredAs: "training"),
        // Writing takes longest.
        PlannedPhase("merging", measuredAs: "merging"),
        PlannedPhase("exporting", of: "merging", measuredAs: "exporting", usesAllThreads: true),
        PlannedPhase("testing", measuredAs: "testing", usesAllThreads: true),
        PlannedPhase("answering", of: "testing", measuredAs: "answering", usesAllThreads: true),
        PlannedPhase("comparing", of: "testing", measuredAs: "comparing", usesAllThreads: true), PlannedPhase("report", measuredAs: nil),
    ]

    private init(_ name: String, of step: String? = nil, measuredAs: String?, usesAllThreads: Bool = false) {
        (self.name, self.step, self.measuredAs, self.usesAllThreads) = (name, step ?? name, measuredAs, usesAllThreads)
    }

    /// The phase of this name. One that is not known, as of another version's file, is a step of its own.
    package static func named(_ name: String) -> PlannedPhase { all.first { $0.name == name } ?? PlannedPhase(name, measuredAs: nil) }
}
