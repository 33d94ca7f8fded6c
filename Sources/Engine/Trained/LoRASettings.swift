/// What is trained, in the words of PEFT's `LoraConfig`.
package struct LoRASettings: Sendable, Hashable {
    package var r: Int
    package var alpha: Double
    /// Share of the adapter's input elements that are dropped in training.
    package var dropout: Double
    /// Endings of module names, as in PEFT: `q_proj` matches every `….q_proj`; `all-linear` every linear of the blocks.
    package var targetModules: [String]
    /// Scale alpha / sqrt(r) instead of alpha / r.
    package var useRSLoRA: Bool
    /// Modules, by their full names, whose rank or alpha is another than `r` and `alpha` (PEFT's `rank_pattern` and `alpha_pattern`).
    package var exceptions: [String: Exception] = [:]

    package struct Exception: Sendable, Hashable {
        package var r: Int
        package var alpha: Double

        package init(r: Int, alpha: Double) { (self.r, self.alpha) = (r, alpha) }
    }

    package init(r: Int = 8, alpha: Double = 16, dropout: Double = 0, targetModules: [String], useRSLoRA: Bool = false) {
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
    }

    /// The rank of a module's A and B.
    package func rank(of module: String) -> Int { exceptions[module]?.r ?? r }

    /// What B A of a module is multiplied by.
    package func scale(of module: String) -> Float {
        let (r, alpha) = exceptions[module].map { ($0.r, $0.alpha) } ?? (r, alpha)
        return Float(useRSLoRA ? alpha / Double(r).squareRoot() : alpha / Double(r))
    }

    func matches(_ linear: String) -> Bool {
        targetModules.contains { $0 == "all-linear" || linear == $0 || linear.hasSuffix("." + $0) }
    }
}
