import LorikeetModelFiles

extension LoRASettings {
    /// The adapter that a PEFT folder holds, on the modules whose tensors it has, without dropout: the configuration may name the modules
    /// by a pattern.
    package init(_ file: AdapterFile) {
        let c = file.configuration
        self.init(r: c.r, alpha: c.alpha, targetModules: LoRAKind.modules(of: file), useRSLoRA: c.useRSLoRA)
    }
}

extension AdapterConfiguration {
    /// What PEFT is told of an adapter with these settings.
    package init(_ lora: LoRASettings, baseModel: String? = nil) {
        self.init(
            r: lora.r, alpha: lora.alpha, dropout: lora.dropout, targetModules: lora.targetModules, useRSLoRA: lora.useRSLoRA, baseModel: baseModel)
    }
}
