import LorikeetEngine

/// What the recipe says about training. Names are those of Hugging Face's `TrainingArguments`.
package struct TrainingSettings: Sendable {
    package var perDeviceTrainBatchSize = 2
    package var gradientAccumulationSteps = 8
    package var numTrainEpochs = 1.0
    /// Stops after so many steps when positive, whatever the epochs say.
    package var maxSteps = -1
    package var learningRate = 5e-5
    package var schedule = ScheduleKind.linear
    package var warmupSteps = 0
    /// Share of all steps that warm up, when `warmupSteps` is 0.
    package var warmupRatio = 0.0
    package var optimiser: any Optimiser = AdamWSettings()
    package var seed: UInt64 = 42
    package var shuffle = true
    package var packing = true
    /// Whether a micro-batch may hold what samples begin with once: set where the recipe allows it (packing, no dropout). Whether the device can, says
    /// `Session.sharesPrefixes`.
    package var sharesPrefixes = false
    package var loggingSteps = 10
    /// 0: only at the end.
    package var evalSteps = 0
    /// All validation rows are evaluated after the last step. A run that tests its forms does it there instead.
    package var evaluatesAtEnd = false
    /// Validation rows used during training; all are used at the end.
    package var evalSamples = 512
    /// The checkpoint with the best loss of those rows is kept, and its adapter delivered.
    package var keepsBest = false
    /// Evaluations in a row without a better loss after which training ends; 0: never.
    package var earlyStoppingPatience = 0
    /// By how much a loss has to be better to count there.
    package var earlyStoppingThreshold = 0.0
    /// 0: only at the end.
    package var saveSteps = 500
    /// A checkpoint also after so many minutes; 0: never.
    package var saveMinutes = 0.0
    /// Checkpoints kept; 0 keeps all.
    package var saveTotalLimit = 0
    /// Rows of a micro-batch, decided by the plan.
    package var tokensPerBatch = 1024
    /// How the processor deals a step's micro-batches out: the session's (`SessionSizes.replicas`).
    package var replicas = Replicas.one
    /// Rows of an evaluation batch; nil takes those of a micro-batch.
    package var evaluationTokensPerBatch: Int?

    package init() {}

    /// One optimiser step takes exactly so many samples; an epoch's last step takes what is left.
    package var samplesPerStep: Int { perDeviceTrainBatchSize * gradientAccumulationSteps }

    package func stepsPerEpoch(samples: Int) -> Int { (samples + samplesPerStep - 1) / samplesPerStep }

    /// Optimiser steps of the whole training, as transformers counts them: ceil(epochs * steps of an epoch).
    package func totalSteps(samples: Int) -> Int {
        if maxSteps > 0 { return maxSteps }
        return Int((numTrainEpochs * Double(stepsPerEpoch(samples: samples))).rounded(.up))
    }

    private func warmup(of total: Int) -> Int { warmupSteps > 0 ? warmupSteps : Int((warmupRatio * Double(total)).rounded(.up)) }

    /// A sentence where nothing is learnt at all.
    package var rateWarning: String? { learningRate == 0 ? "the learning rate is 0: nothing is trained; set learning_rate" : nil }

    /// A sentence where the warm-up is longer than the training, so that the rate never reaches its value.
    package func warmupWarning(samples: Int) -> String? {
        let total = totalSteps(samples: samples)
        guard total > 0, schedule != .constant, warmup(of: total) >= total else { return nil }
        let share = schedule.factor(at: Double(total - 1), warmup: warmup(of: total), total: total)
        let length = warmup(of: total) > total ? "is longer than" : "is as long as"
        return "the warm-up of \(warmup(of: total)) steps \(length) the run of \(total): the learning rate reaches \(Int((share * 100).rounded())) % of "
            + "its value; lower warmup_steps, or set warmup_ratio instead"
    }

    /// The schedule's learning rate of a step, 0 for the first.
    package func learningRate(atStep step: Int, of course: StepCourse) -> Double {
        learningRate * schedule.factor(at: course.position(ofStep: step), warmup: warmup(of: course.planned), total: course.planned)
    }
}
