import Glibc

/// How the learning rate goes over the steps: the formulas of transformers' `optimization.py`.
package enum ScheduleKind: String, Sendable, CaseIterable {
    case linear
    case cosine
    case constant
    case constantWithWarmup = "constant_with_warmup"

    /// What the learning rate is multiplied by at a place of the curve: 0 for the first step, whose rate is therefore 0 when there is a warm-up; between
    /// two steps where the schedule was planned anew (`StepCourse`).
    package func factor(at place: Double, warmup: Int, total: Int) -> Double {
        if self == .constant { return 1 }
        if place < Double(warmup) { return place / Double(max(1, warmup)) }
        switch self {
        case .constant, .constantWithWarmup: return 1
        case .linear: return max(0, (Double(total) - place) / Double(max(1, total - warmup)))
        case .cosine:
            let progress = (place - Double(warmup)) / Double(max(1, total - warmup))
            return max(0, 0.5 * (1 + cos(.pi * progress)))
        }
    }
}
