import LorikeetGround
import LorikeetRecipe

extension DatasetSettings {
    /// What a resolved recipe says about data; its table has checked the ranges.
    ///
    /// - Throws: exit 2 where `columns` names a key that no layout has.
    package init(_ recipe: Recipe) throws {
        self.init(data: recipe.data)
        validation = recipe.validation
        validationShare = recipe.validationShare
        maxTrainSamples = recipe.maxTrainSamples
        maxValidationSamples = recipe.maxValidationSamples
        sample = Sampling(rawValue: recipe.sample) ?? .random
        instructionRole = InstructionRole(rawValue: recipe.instructionRole) ?? .user
        layout = RecordLayout(rawValue: recipe.format)
        textField = recipe.datasetTextField
        columns = try recipe.columns.map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
            let known = RecordLayout.allCases.flatMap { $0.required(textField: recipe.datasetTextField).flatMap { $0 } + $0.optional }
            guard parts.count == 2, known.contains(parts[0]) else {
                var names: [String] = []
                for name in known where !names.contains(name) { names.append(name) }
                let near = nearestName(to: parts.first ?? pair, among: names).map { "did you mean \($0)? " } ?? ""
                throw LorikeetError.input(
                    "'\(parts.first ?? pair)' is no key of a layout", at: "columns", fix: near + "the keys are \(names.joined(separator: ", "))")
            }
            return (parts[0], parts[1])
        }
        assistantOnlyLoss = recipe.assistantOnlyLoss
        completionOnlyLoss = recipe.completionOnlyLoss
        maxLength = recipe.maxLength
        maxBadRecords = recipe.maxBadRecords
        seed = UInt64(bitPattern: Int64(recipe.seed))
    }
}
