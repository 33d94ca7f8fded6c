import LorikeetModelFiles

extension LoRASettings {
    /// The adapter that a PEFT folder holds, on the modules it names, without dropout.
    package init(_ file: AdapterFile) {
        let c = file.configuration
        self.init(r: c.r, alpha: c.alpha, targetModules: file.modules, useRSLoRA: c.useRSLoRA)
    }
}

extension AdapterConfiguration {
    /// What PEFT is told of an adapter with these settings.
    package init(_ lora: LoRASettings, baseModel: String? = nil) {
        self.init(
            r: lora.r, alpha: lora.alpha, dropout: lora.dropout, targetModules: lora.targetModules, useRSLoRA: lora.useRSLoRA, baseModel: baseModel)
    }
}
