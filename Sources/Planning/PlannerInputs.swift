import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// The model that a run is planned for.
package struct PlannedModel {
    package var source: ModelSource
    package var storage: BaseStorage
    package var lora: LoRASettings
    /// Bytes of one merged element; 0 when nothing is merged and tested.
    package var mergedElementBytes: Int
    /// Bytes on the disk beside tensors: tokenizer, configuration, the run's records.
    package var besideBytes: Int64 = 0
    /// How the base lies that the merged model is compared with.
    package var comparedStorage = BaseStorage.stored
    package var optimiser: any Optimiser.Type = AdamWSettings.self
    /// Whether programs are fused; see `PassPolicy.fuse`.
    package var fuse = true

    package init(source: ModelSource, storage: BaseStorage, lora: LoRASettings, mergedElementBytes: Int) {
        (self.source, self.storage, self.lora, self.mergedElementBytes) = (source, storage, lora, mergedElementBytes)
    }

    func plan(_ request: ProgramRequest) throws -> ProgramPlan { try Session.plan(source.configuration, request) { source.tensor($0)?.type } }
}

/// What a planner knows of one sample.
package struct SampleLength: Sendable {
    package let tokens: Int
    package let trained: Int

    package init(tokens: Int, trained: Int) { (self.tokens, self.trained) = (tokens, trained) }

    package init(_ sample: TokenSample) { self.init(tokens: sample.ids.count, trained: sample.trainedCount) }
}

/// The data of a run and how its steps use it.
package struct PlannedData {
    package var train: [SampleLength]
    package var validation: [SampleLength]
    /// Samples of each optimiser step, by index into `train`, for steps 0..<steps of the first epochs.
    package var samplesOfStep: (Int) -> [Int]
    package var steps: Int
    package var packing: Bool

    package init(train: [SampleLength], validation: [SampleLength], steps: Int, packing: Bool, samplesOfStep: @escaping (Int) -> [Int]) {
        (self.train, self.validation, self.steps, self.packing) = (train, validation, steps, packing)
        self.samplesOfStep = samplesOfStep
    }

    /// What is evaluated: where there is no validation, the range probe and the comparison take training records.
    var heldOut: [SampleLength] { validation.isEmpty ? train : validation }

    /// The samples of every optimiser step.
    var trainedSteps: some Sequence<[SampleLength]> { (0..<steps).lazy.map { samplesOfStep($0).map { train[$0] } } }

    /// Rows and trained tokens of the largest micro-batch, and tokens over all.
    func largest(over groups: some Sequence<[SampleLength]>, tokensPerBatch: Int, packing: Bool? = nil) -> (rows: Int, trained: Int, tokens: Int) {
        var (rows, trained, tokens) = (0, 0, 0)
        for group in groups {
            for batch in packedGroups(lengths: group.map(\.tokens), tokensPerBatch: tokensPerBatch, packing: packing ?? self.packing) {
                let sum = batch.reduce(0) { $0 + group[$1].tokens }
                rows = max(rows, sum)
                trained = max(trained, batch.reduce(0) { $0 + group[$1].trained })
                tokens += sum
            }
        }
        return (rows, trained, tokens)
    }

    /// The segments and targets that these samples make.
    package static func workload(_ samples: [SampleLength]) -> Workload {
        let tokens = samples.reduce(0) { $0 + $1.tokens }
        guard tokens > 0 else { return Workload() }
        return Workload(
            segments: SegmentLengths(samples.lazy.map(\.tokens)), trainedShare: Double(samples.reduce(0) { $0 + $1.trained }) / Double(tokens))
    }
}

/// How often a run evaluates and saves.
package struct PlannedPace {
    package var evalSteps: Int
    package var evalSamples: Int
    package var saveSteps: Int
    package var saveTotalLimit: Int

    package init(evalSteps: Int, evalSamples: Int, saveSteps: Int, saveTotalLimit: Int) {
        (self.evalSteps, self.evalSamples, self.saveSteps, self.saveTotalLimit) = (evalSteps, evalSamples, saveSteps, saveTotalLimit)
    }
}

/// Held-out rows that are answered, the longest prompt among them in tokens, and the most new tokens of each.
package struct PlannedAnswers {
    package var rows: Int
    package var longestPrompt: Int
    package var maxNewTokens: Int

    package init(rows: Int, longestPrompt: Int, maxNewTokens: Int) {
        (self.rows, self.longestPrompt, self.maxNewTokens) = (rows, longestPrompt, maxNewTokens)
    }
}

/// Where a run is planned to compute.
package struct PlannedPlace {
    package var threads: Int
    /// Resident bytes of the process now: the program, tokenizer and data.
    package var residentBytes: Int64
    /// For predictions of time alone: nothing that decides bits depends on it.
    package var processor: DeviceModel
    /// nil plans for the processor.
    package var card: PlannedCard?

    package init(threads: Int, residentBytes: Int64, processor: DeviceModel, card: PlannedCard?) {
        (self.threads, self.residentBytes, self.processor, self.card) = (threads, residentBytes, processor, card)
    }
}

extension DeviceModel {
    /// Measures the processor in about a tenth of a second.
    ///
    /// - Parameter columns: of the model's residual stream: the product has the step's sizes.
    package static func measured(_ cpu: CPU, columns: Int, clock: any Clock) throws -> DeviceModel {
        let (m, n, k) = (256, 1024, max(64, min(columns, 4096)))
        let a = try Buffer(bytes: m * k * 4)
        let b = try Buffer(bytes: n * k * 4)
        let c = try Buffer(bytes: m * n * 4)
        var best = Double.infinity
        for _ in 0..<12 {
            let start = clock.uptime
            cpu.gemm(
                transposeB: true, m: m, n: n, k: k, a: a.pointer(as: Float.self), lda: k, b: b.pointer(as: Float.self), ldb: k,
                c: c.pointer(as: Float.self), ldc: n)
            best = min(best, clock.uptime - start)
        }
        // Ops around the products reach about nine tenths of what the best product does.
        return DeviceModel(processorFlops: 0.9 * 2 * Double(m * n * k) / max(best, 1e-9), bytesPerSecond: 8e9)
    }

    /// A processor that has little to do beside a card: what it reaches need not be measured.
    package static var besideCard: DeviceModel { DeviceModel(processorFlops: 1e11, bytesPerSecond: 8e9) }
}
