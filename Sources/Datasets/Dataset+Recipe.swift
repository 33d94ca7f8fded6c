import LorikeetDevices
import LorikeetGround
import LorikeetRecipe
import LorikeetTokenizers

extension DatasetSettings {
    /// What a resolved recipe says about data; its table has checked the ranges.
    package init(_ recipe: Recipe) {
        self.init(data: recipe.data ?? "")
        validation = recipe.validation
        validationShare = recipe.validationShare
        maxTrainSamples = recipe.maxTrainSamples
        maxValidationSamples = recipe.maxValidationSamples
        sample = Sampling(rawValue: recipe.sample) ?? .random
        instructionRole = InstructionRole(rawValue: recipe.instructionRole) ?? .user
        maxLength = recipe.maxLength
        maxBadRecords = recipe.maxBadRecords
        seed = UInt64(bitPattern: Int64(recipe.seed))
    }
}

extension Dataset {
    /// The samples that a recipe asks for; see `load(_:tokenizer:template:embeddingRows:files:cpu:)`.
    package static func load(
        recipe: Recipe, tokenizer: Tokenizer, template: ChatTemplate?, embeddingRows: Int?, files: any Files, cpu: CPU
    ) throws -> Dataset {
        try load(
            DatasetSettings(recipe), tokenizer: tokenizer, template: template, embeddingRows: embeddingRows, files: files, cpu: cpu)
    }
}
