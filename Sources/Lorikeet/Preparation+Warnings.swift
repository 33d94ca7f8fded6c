import LorikeetDatasets
import LorikeetRecipe

extension Preparation {
    /// A warning where training samples are longer than the model's context; nil where all fit.
    func contextWarning(_ dataset: Dataset) -> String? {
        guard let context = source.configuration.values["max_position_embeddings"]?.int else { return nil }
        let longer = dataset.train.lengths.count { $0.tokens > context }
        guard longer > 0 else { return nil }
        let samples = longer == 1 ? "1 training sample is" : "\(longer) training samples are"
        return "\(samples) longer than the model's context of \(context) tokens (max_position_embeddings): lower max_length to that"
    }

    /// A warning that names keys of the recipe which only a card heeds, for a run that computes on the processor; nil where there are none.
    var keysOfCardsWarning: String? {
        let named = [
            ("gpu_memory", recipe.gpuMemoryBytes != nil), ("gpu_arch", recipe.gpuArchitecture != nil),
            ("compute_type", !["auto", "float32"].contains(recipe.computeType)), ("tune", recipe.tune),
        ].filter(\.1).map { "'\($0.0)'" }
        guard !named.isEmpty else { return nil }
        return "\(named.joined(separator: ", ")) \(named.count == 1 ? "has" : "have") no effect: this run computes on the processor, in float32"
    }
}
