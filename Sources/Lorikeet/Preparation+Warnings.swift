import LorikeetDatasets
import LorikeetRecipe

extension Preparation {
    /// A warning where training samples are longer than the model's context; nil where all fit.
    func contextWarning(_ dataset: Dataset) -> String? {
        guard let context = source.configuration.values["max_position_embeddings"]?.int else { return nil }
        let longer = dataset.train.count(longerThan: context)
        guard longer > 0 else { return nil }
        let samples = longer == 1 ? "1 training sample is" : "\(longer) training samples are"
        return "\(samples) longer than the model's context of \(context) tokens (max_position_embeddings): lower max_length to that"
    }
}
