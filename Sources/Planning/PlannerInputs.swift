import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetModelFiles

/// The model that a run is planned for.
package struct PlannedModel {
    package let source: ModelSource
    /// Its programs, which all parts of a plan share.
    package let programs: ModelPrograms
    package var storage: BaseStorage
    package var lora: LoRASettings
    /// Bytes of one merged element; 0 when nothing is merged and tested.
    package var mergedElementBytes: Int
    /// Bytes on the disk beside tensors: tokenizer, configuration, the run's records.
    package var otherDiskBytes: Int64 = 0
    /// Storage of the base that, with the adapter, the merged model is compared with.
    package var comparedStorage = BaseStorage.stored
    package var optimiser: any Optimiser.Type = AdamWSettings.self
    /// Whether programs are fused; see `PassPolicy.fuse`.
    package var fuse = true
    /// The exported forms, which are tested too.
    package var exports: [PlannedExport] = []
    /// Bytes of the model's tensors in its files.
    package var fileBytes: Int64 = 0

    package init(source: ModelSource, storage: BaseStorage, lora: LoRASettings, mergedElementBytes: Int) {
        (self.source, self.storage, self.lora, self.mergedElementBytes) = (source, storage, lora, mergedElementBytes)
        programs = ModelPrograms(source.configuration)
    }

    func plan(_ request: ProgramRequest) throws -> ProgramPlan { try programs.plan(request) { source.tensor($0)?.type } }
}

/// The data of a run and how its steps use it.
package struct PlannedData {
    package var train: [SampleLength]
    package var validation: [SampleLength]
    /// `train` in the order in which an epoch (0 for the first) visits it. A step takes the next `samplesPerStep`, an epoch's last step what is left.
    let lengthsOfEpoch: (Int) -> [SampleLength]
    package let samplesPerStep: Int
    package var steps: Int
    /// Runs a body for each index below a count, on as many threads as it likes.
    package var parallel: (_ count: Int, _ body: (Int) -> Void) -> Void = { count, body in (0..<count).forEach(body) }
    /// Whether a training micro-batch may hold several samples.
    package var packing: Bool
    /// An evaluation of all of `validation` on the processor.
    package var evaluation = PlannedBatches()
    /// All optimiser steps on the processor, where samples share what they begin with; nil where every sample is computed whole.
    package var sharing: PlannedBatches?
    /// The same without replicas.
    package var sharingAlone: (() throws -> PlannedBatches)?

    package init(
        train: [SampleLength], validation: [SampleLength], steps: Int, samplesPerStep: Int, packing: Bool, lengthsOfEpoch: @escaping (Int) -> [SampleLength]
    ) {
        (self.train, self.validation, self.packing, self.lengthsOfEpoch) = (train, validation, packing, lengthsOfEpoch)
        (self.steps, self.samplesPerStep) = (steps, max(1, min(samplesPerStep, train.count)))
    }

    /// The samples that are evaluated: the validation's, or training samples for the range probe and the comparison where there is none.
    var heldOut: [SampleLength] { validation.isEmpty ? train : validation }

    /// About the samples of all steps; a sample counts once an epoch.
    package var visits: Int { steps * samplesPerStep }

    var stepsPerEpoch: Int { (train.count + samplesPerStep - 1) / samplesPerStep }

    /// Epochs that are begun.
    var epochs: Int { train.isEmpty ? 0 : (steps + stepsPerEpoch - 1) / stepsPerEpoch }

    /// Calls `body` with the samples of each of some steps.
    ///
    /// - Parameters:
    ///   - lengths: those of whole epochs, one behind the other, as `lengthsOfEpoch` gives them.
    ///   - first: the epoch that they begin with.
    func forEachStep(
        _ steps: Range<Int>, _ lengths: UnsafeBufferPointer<SampleLength>, fromEpoch first: Int,
        _ body: (_ step: Int, _ samples: UnsafeBufferPointer<SampleLength>) -> Void
    ) {
        guard !steps.isEmpty else { return }
        var (epoch, inside) = steps.lowerBound.quotientAndRemainder(dividingBy: stepsPerEpoch)
        for step in steps {
            let (start, end) = ((epoch - first) * train.count, (epoch - first + 1) * train.count)
            let place = start + inside * samplesPerStep
            body(step, UnsafeBufferPointer(rebasing: lengths[place..<min(place + samplesPerStep, end)]))
            inside += 1
            if inside == stepsPerEpoch { (epoch, inside) = (epoch + 1, 0) }
        }
    }

    func steps(ofEpoch epoch: Int) -> Range<Int> { epoch * stepsPerEpoch..<min(steps, (epoch + 1) * stepsPerEpoch) }

    /// All optimiser steps on the processor.
    func stepsOnProcessor(_ replicas: Replicas) -> PlannedBatches {
        if let sharing { return sharing }
        var batches = PlannedBatches()
        for epoch in 0..<epochs {
            lengthsOfEpoch(epoch).withUnsafeBufferPointer { lengths in
                forEachStep(steps(ofEpoch: epoch), lengths, fromEpoch: epoch) { _, samples in
                    let lengths = Array(samples)
                    let groups = [SampleGroup].ofStep(replicas, rows: Planner.tokensPerBatch) {
                        .whole(lengths, tokensPerBatch: $0, packing: packing)
                    }
                    batches.add(groups, tokens: lengths.reduce(0) { $0 + $1.tokens })
                }
            }
        }
        return batches
    }

    /// The workload of these samples: their lengths, and their share of trained tokens.
    package static func workload(_ samples: [SampleLength]) -> Workload {
        let tokens = samples.reduce(0) { $0 + $1.tokens }
        guard tokens > 0 else { return Workload() }
        return Workload(
            segments: SegmentLengths(samples.map(\.tokens)), trainedShare: Double(samples.reduce(0) { $0 + $1.trained }) / Double(tokens))
    }
}

/// How often a run evaluates and saves: the recipe's `eval_steps`, `eval_samples`, `save_steps` and `save_total_limit`.
package struct PlannedIntervals {
    package var evalSteps: Int
    package var evalSamples: Int
    package var saveSteps: Int
    package var saveTotalLimit: Int
    /// The checkpoint with the best loss is kept beside the others.
    package var keepsBest = false

    package init(evalSteps: Int, evalSamples: Int, saveSteps: Int, saveTotalLimit: Int) {
        (self.evalSteps, self.evalSamples, self.saveSteps, self.saveTotalLimit) = (evalSteps, evalSamples, saveSteps, saveTotalLimit)
    }
}

/// The answers that a test generates.
package struct PlannedAnswers {
    /// Held-out rows that are answered.
    package var rows: Int
    /// Tokens of the longest of their prompts.
    package var longestPrompt: Int
    /// The most new tokens of each.
    package var maxNewTokens: Int
    /// Tokens of each row's answer in the data, its end included. A trained model's answers are about as long.
    package var expected: [Int] = []
    /// Tokens that are read of all prompts (`Session.promptTokens`).
    package var promptTokens: Int

    /// `rows` prompts of one length, that begin with nothing in common.
    package init(rows: Int, longestPrompt: Int, maxNewTokens: Int) {
        (self.rows, self.longestPrompt, self.maxNewTokens) = (rows, longestPrompt, maxNewTokens)
        promptTokens = rows * longestPrompt
    }
}

/// A form that the merged model is exported in.
package struct PlannedExport: Sendable {
    /// The form's name and the bytes of its weights.
    package var weights: Plan.Part
    /// Processor seconds, of one thread, that encode an element.
    package var secondsPerElement: Double
    /// Its logits are compared with the trained form's, as those of the merged model are.
    package var isExact: Bool

    package init(_ weights: Plan.Part, secondsPerElement: Double, isExact: Bool) {
        (self.weights, self.secondsPerElement, self.isExact) = (weights, secondsPerElement, isExact)
    }
}

/// What a run reads before it trains.
package struct PlannedReading: Sendable {
    /// Bytes of the data files.
    package var dataBytes: Int64 = 0
    /// The samples are in the cache folder, so no record is read again.
    package var samplesAreKept = false

    package init(dataBytes: Int64 = 0, samplesAreKept: Bool = false) { (self.dataBytes, self.samplesAreKept) = (dataBytes, samplesAreKept) }
}

/// The machine that a run is planned for.
package struct PlannedMachine {
    package var threads: Int
    /// Resident bytes of the process now: the program, tokenizer and data.
    package var residentBytes: Int64
    /// For predictions of time only: no choice depends on it.
    package var processor: DeviceModel
    /// nil plans for the processor.
    package var card: PlannedCard?
    package var reading = PlannedReading()
    /// By which factors work on the processor takes longer than its rates say, for other processes work beside it.
    package var slowdown = Slowdown()
    /// Bytes a second that the output's disk takes (`DiskRate`); nil where it was not measured.
    package var writtenBytesPerSecond: Double?
    /// Bytes of memory that may be pinned for a card: half of what this process may use at all.
    package var pinnableBytes = Machine.totalMemoryBytes() / 2

    package init(threads: Int, residentBytes: Int64, processor: DeviceModel, card: PlannedCard?) {
        (self.threads, self.residentBytes, self.processor, self.card) = (threads, residentBytes, processor, card)
    }
}
