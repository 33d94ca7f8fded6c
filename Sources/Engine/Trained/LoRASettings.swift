/// What is trained, in the words of PEFT's `LoraConfig`.
package struct LoRASettings: Sendable, Equatable {
    package var r: Int
    package var alpha: Double
    /// Share of the adapter's input elements that are dropped in training.
    package var dropout: Double
    /// Endings of module names, as in PEFT: `q_proj` matches every `….q_proj`; `all-linear` every linear of the blocks.
    package var targetModules: [String]
    /// Scale alpha / sqrt(r) instead of alpha / r.
    package var useRSLoRA: Bool

    package init(r: Int = 8, alpha: Double = 16, dropout: Double = 0, targetModules: [String], useRSLoRA: Bool = false) {
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
    }

    package var scale: Float { Float(useRSLoRA ? alpha / Double(r).squareRoot() : alpha / Double(r)) }

    func matches(_ linear: String) -> Bool {
        targetModules.contains { $0 == "all-linear" || linear == $0 || linear.hasSuffix("." + $0) }
    }
}
