import LorikeetGround
import LorikeetModelFiles

extension LoRASettings {
    /// The adapter that a PEFT folder holds, for a model: on the modules whose tensors the folder has, each with the rank and the scale that
    /// its settings give it, without dropout. The one way from a folder to what is merged, generated with, tested and trained on.
    ///
    /// - Parameter weights: the model's frozen tensors.
    /// - Throws: exit 2 where the folder has tensors for a module that its settings leave out, where its patterns cannot be matched, and where
    ///   it has nothing for the model. Modules that the model lacks are named by `TrainedValues`, with their tensors.
    package init(_ file: AdapterFile, weights: [WeightDeclaration]) throws {
        let c = file.configuration
        let own = LoRAKind.modules(of: file)
        let linears = weights.compactMap { if case .linear(let linear) = $0.role, own.contains(linear.name) { linear.name } else { nil } }
        guard !linears.isEmpty else {
            if let refusal = TrainedValues.refused(file.tensors.keys) {
                throw LorikeetError.input(refusal, at: file.path, fix: TrainedValues.plainAdapter)
            }
            let example = file.tensors.keys.min().map { " (its tensors have names such as '\($0)')" } ?? ""
            throw LorikeetError.input(
                "the adapter belongs to no matrix of the model\(example)", at: file.path,
                fix: "use the model it was trained on, and an adapter as PEFT saves it")
        }
        self.init(r: c.r, alpha: c.alpha, targetModules: linears, useRSLoRA: c.useRSLoRA)
        for module in linears {
            let name = file.settingsName(of: module)
            guard try c.wraps(name) else {
                throw LorikeetError.input(
                    "the adapter has tensors for '\(name)', which its target_modules, exclude_modules or layers_to_transform leave out",
                    at: file.path + "/adapter_config.json", fix: "PEFT would not load them: correct the settings, or remove the tensors")
            }
            let (rank, alpha) = (try c.rank(of: name), try c.alpha(of: name))
            if rank != c.r || alpha != c.alpha { exceptions[module] = Exception(r: rank, alpha: alpha) }
        }
    }
}

extension AdapterConfiguration {
    /// What PEFT is told of an adapter with these settings.
    package init(_ lora: LoRASettings, baseModel: String? = nil) {
        self.init(
            r: lora.r, alpha: lora.alpha, dropout: lora.dropout, targetModules: lora.targetModules, useRSLoRA: lora.useRSLoRA, baseModel: baseModel)
    }
}
