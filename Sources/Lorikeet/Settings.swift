import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTraining

/// The recipe as the settings of the rooms Training and Engine.
extension Recipe {
    /// - Parameters:
    ///   - tokensPerBatch: the most rows (tokens) of a training micro-batch.
    ///   - evaluationTokensPerBatch: those of an evaluation; nil takes the same.
    package func trainingSettings(tokensPerBatch: Int, evaluationTokensPerBatch: Int? = nil) -> TrainingSettings {
        var settings = TrainingSettings()
        settings.perDeviceTrainBatchSize = perDeviceTrainBatchSize
        settings.gradientAccumulationSteps = gradientAccumulationSteps
        settings.numTrainEpochs = numTrainEpochs
        settings.maxSteps = maxSteps
        settings.learningRate = learningRate
        settings.schedule = .init(rawValue: lrSchedulerType) ?? .linear
        settings.warmupSteps = warmupSteps
        settings.warmupRatio = warmupRatio
        var update = OptimiserSettings()
        (update.beta1, update.beta2, update.epsilon, update.weightDecay) = (adamBeta1, adamBeta2, adamEpsilon, weightDecay)
        update.maxGradNorm = maxGradNorm > 0 ? maxGradNorm : nil
        settings.optimiser = optimiser.init(update)
        settings.seed = UInt64(seed)
        settings.shuffle = shuffle
        settings.packing = packing
        // Dropout masks what every record begins with anew.
        settings.sharesPrefixes = packing && lora.loraDropout == 0
        settings.loggingSteps = loggingSteps
        settings.evalSteps = evalSteps
        settings.evalSamples = evalSamples
        settings.keepsBest = loadBestModelAtEnd
        settings.earlyStoppingPatience = earlyStoppingPatience
        settings.earlyStoppingThreshold = earlyStoppingThreshold
        settings.saveSteps = saveSteps
        settings.saveMinutes = saveMinutes
        settings.saveTotalLimit = saveTotalLimit
        settings.tokensPerBatch = tokensPerBatch
        settings.evaluationTokensPerBatch = evaluationTokensPerBatch
        return settings
    }

    package var optimiser: any Optimiser.Type { Optimisers.named(optim) }

    package var loraSettings: LoRASettings {
        LoRASettings(
            r: lora.r, alpha: lora.loraAlpha, dropout: lora.loraDropout, targetModules: lora.targetModules, useRSLoRA: lora.useRslora)
    }

    package var adapterConfiguration: AdapterConfiguration {
        // PEFT loads the base by this name: a path, or a hub's ORG/NAME alone.
        AdapterConfiguration(loraSettings, baseModel: model.map { BaseOrigin.hubName($0, kind: .model, files: RealFiles()) ?? $0 })
    }

    /// `auto`: the own codes of a GGUF or of bitsandbytes' NF4 (rounding them again costs quality), else NF4.
    package func storage(for source: ModelSource) -> BaseStorage {
        baseStorage == "auto" ? (source.hasOwnCodes ? .stored : .nf4) : BaseStorage(rawValue: baseStorage) ?? .nf4
    }

    package var mergeType: ElementType {
        switch mergeDtype {
        case "bfloat16": .bf16
        case "float32": .f32
        default: .f16
        }
    }
}
