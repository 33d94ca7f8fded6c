import Glibc

/// How the learning rate goes over the steps: the formulas of transformers' `optimization.py`.
package enum ScheduleKind: String, Sendable, CaseIterable {
    case linear
    case cosine
    case constant
    case constantWithWarmup = "constant_with_warmup"

    /// What the learning rate is multiplied by in step `step` (0 for the first, whose rate is therefore 0 when there is a warm-up).
    package func factor(step: Int, warmup: Int, total: Int) -> Double {
        if self == .constant { return 1 }
        if step < warmup { return Double(step) / Double(max(1, warmup)) }
        switch self {
        case .constant, .constantWithWarmup: return 1
        case .linear: return max(0, Double(total - step) / Double(max(1, total - warmup)))
        case .cosine:
            let progress = Double(step - warmup) / Double(max(1, total - warmup))
            return max(0, 0.5 * (1 + cos(.pi * progress)))
        }
    }
}
