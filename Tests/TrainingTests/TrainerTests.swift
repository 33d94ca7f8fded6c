import FailingFiles
import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import Synchronization
import Testing

@testable import LorikeetTraining

/// The loop on the tiny reference model.
struct TrainerTests {
    static let llama = LearningRateTests.reference.appending(path: "llama").path
    static let lora = LoRASettings(r: 4, alpha: 8, dropout: 0.2, targetModules: ["q_proj", "down_proj"])

    private func folder() -> String { FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path }

    private static let samples = (0..<20).map { number in
        let length = 4 + number % 9
        return TokenSample(
            record: number, ids: (0..<length).map { Int32((number * 31 + $0 * 17) % 157 + 3) }, trained: (0..<length).map { $0 > 1 })
    }

    private func settings() -> TrainingSettings {
        var settings = TrainingSettings()
        settings.perDeviceTrainBatchSize = 2
        settings.gradientAccumulationSteps = 3
        settings.numTrainEpochs = 2
        settings.learningRate = 1e-2
        settings.warmupSteps = 1
        settings.saveSteps = 2
        settings.saveTotalLimit = 2
        settings.loggingSteps = 2
        settings.evalSteps = 3
        settings.evalSamples = 3
        settings.tokensPerBatch = 32
        return settings
    }

    private struct Outcome {
        let result: TrainingResult
        let adapter: [Float]
        let events: [TrainingEvent]
    }

    private func train(
        in directory: String, files: any Files = RealFiles(), stopAfter: Int? = nil, settings: TrainingSettings? = nil,
        threads: Int = 2, hear: @escaping (TrainingEvent) -> Void = { _ in }
    ) throws -> Outcome {
        let model = try Compute(cpu: CPU(threads: threads)).model(ModelSource.open(Self.llama), storage: .nf4, lora: Self.lora, seed: 5)
        let store = CheckpointStore(
            directory: directory, files: files, adapterConfiguration: AdapterConfiguration(r: 4, alpha: 8, dropout: 0.2, targetModules: Self.lora.targetModules)
        )
        var events: [TrainingEvent] = []
        let steps = Counter()
        let trainer = Trainer(
            session: try Session(
                model: model, sizes: SessionSizes(training: 64, evaluation: 64, replicas: (settings ?? self.settings()).replicas)),
            settings: settings ?? self.settings(), checkpoints: store, clock: SystemClock(),
            shouldStop: { stopAfter.map { steps.value >= $0 } ?? false },
            report: { event in
                events.append(event)
                hear(event)
                if case .step(let progress) = event { steps.set(progress.step) }
            })
        let result = try trainer.run(train: SampleSet(Array(Self.samples.prefix(16))), validation: SampleSet(Array(Self.samples.suffix(4))))
        return Outcome(result: result, adapter: Array(model.adapters.floats(.values)), events: events)
    }

    @Test func `training lowers the loss and tells what it does`() throws {
        var long = settings()
        long.numTrainEpochs = 16
        let outcome = try train(in: folder(), settings: long)
        #expect(outcome.result.finished && outcome.result.state.step == 48)
        let losses = outcome.events.compactMap { if case .step(let progress) = $0 { progress.loss } else { nil } }
        // An epoch has three steps; random tokens can only be learnt by heart.
        let (first, last) = (losses.prefix(3).reduce(0, +), losses.suffix(3).reduce(0, +))
        #expect(last < 0.8 * first, "\(losses)")
        #expect(outcome.events.contains { if case .evaluation(3, 48, 1, _, 3, _) = $0 { true } else { false } })
        #expect(outcome.events.count { if case .log = $0 { true } else { false } } == 24)
    }

    @Test(arguments: [1, 2, 3, 5]) func `stopped after any step, the same run goes on to the same bits`(stop: Int) throws {
        let calm = try train(in: folder())
        let directory = folder()
        let first = try train(in: directory, stopAfter: stop)
        #expect(!first.result.finished && first.result.state.step == stop)
        let second = try train(in: directory)
        #expect(second.result.finished && second.adapter == calm.adapter)
        #expect(second.result.state.lossSum == calm.result.state.lossSum && second.result.state.trainedTokens == calm.result.state.trainedTokens)
    }

    @Test(arguments: [2, 3]) func `micro-batches computed at once learn what they do one by one, and go on to the same bits`(count: Int) throws {
        var settings = settings()
        settings.replicas = Replicas(count: count, rows: 32)
        let (calm, alone) = (try train(in: folder(), settings: settings, threads: 8), try train(in: folder()))
        // Dropout's masks belong to the records, so only rounding differs; Adam's first steps make much of it.
        let largest = alone.adapter.map(abs).max() ?? 0
        #expect(zip(calm.adapter, alone.adapter).allSatisfy { abs($0 - $1) < 0.02 * largest })
        #expect(abs(calm.result.trainLoss - alone.result.trainLoss) < 1e-4 * alone.result.trainLoss)
        #expect(calm.result.state.trainedTokens == alone.result.state.trainedTokens)
        let directory = folder()
        #expect(try train(in: directory, stopAfter: 3, settings: settings, threads: 8).result.state.step == 3)
        let resumed = try train(in: directory, settings: settings, threads: 8)
        #expect(resumed.result.finished && resumed.adapter == calm.adapter && resumed.result.state.lossSum == calm.result.state.lossSum)
    }

    /// Samples of one system message, without dropout: steps whose beginnings are computed once learn what whole samples do.
    @Test(arguments: [24, 1024]) func `steps that share beginnings learn what whole samples do, and go on to the same bits`(tokensPerBatch: Int) throws {
        let system = (0..<15).map { Int32($0 * 7 % 150 + 3) }
        let samples = Self.samples.map { sample in
            TokenSample(record: sample.record, ids: system + sample.ids, trained: system.map { _ in false } + sample.trained)
        }
        let lora = LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj", "v_proj", "down_proj"])
        func train(sharing: Bool, directory: String, stopAfter: Int? = nil) throws -> (result: TrainingResult, adapter: [Float], computed: [Int]) {
            let model = try Compute(cpu: CPU(threads: 2)).model(ModelSource.open(Self.llama), storage: .nf4, lora: lora, seed: 5)
            let store = CheckpointStore(
                directory: directory, files: RealFiles(),
                adapterConfiguration: AdapterConfiguration(r: 4, alpha: 8, dropout: 0, targetModules: lora.targetModules))
            var settings = settings()
            (settings.sharesPrefixes, settings.tokensPerBatch) = (sharing, tokensPerBatch)
            var computed: [Int] = []
            let steps = Counter()
            let trainer = Trainer(
                session: try Session(model: model, maximumTokens: 64), settings: settings, checkpoints: store, clock: SystemClock(),
                shouldStop: { stopAfter.map { steps.value >= $0 } ?? false },
                report: {
                    guard case .step(let progress) = $0 else { return }
                    computed.append(progress.computedTokens)
                    steps.set(progress.step)
                })
            let result = try trainer.run(train: SampleSet(Array(samples.prefix(16))), validation: SampleSet(Array(samples.suffix(4))))
            return (result, Array(model.adapters.floats(.values)), computed)
        }
        let (shared, whole) = (try train(sharing: true, directory: folder()), try train(sharing: false, directory: folder()))
        #expect(shared.result.state.tokens == whole.result.state.tokens && shared.result.state.trainedTokens == whole.result.state.trainedTokens)
        #expect(whole.result.state.computedTokens == whole.result.state.tokens)
        #expect(shared.computed.reduce(0, +) == shared.result.state.computedTokens)
        // 6 samples of about 23 tokens a step: 15 of them once, and none behind the last prediction.
        if tokensPerBatch == 1024 { #expect(shared.result.state.computedTokens < whole.result.state.tokens * 2 / 3) }
        let lossDifference = abs(shared.result.state.lossSum - whole.result.state.lossSum)
        #expect(lossDifference <= 2e-4 * whole.result.state.lossSum)
        let distance = zip(shared.adapter, whole.adapter).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        let length = whole.adapter.reduce(0) { $0 + $1 * $1 }.squareRoot()
        #expect(distance <= 1e-3 * length, "\(distance / length)")
        let directory = folder()
        #expect(try !train(sharing: true, directory: directory, stopAfter: 2).result.finished)
        let resumed = try train(sharing: true, directory: directory)
        #expect(resumed.adapter == shared.adapter && resumed.computed == Array(shared.computed.dropFirst(2)))
        #expect(resumed.result.state.computedTokens == shared.result.state.computedTokens)
    }

    @Test func `a damaged checkpoint is skipped with a warning and the one before is used`() throws {
        let calm = try train(in: folder())
        let directory = folder()
        _ = try train(in: directory, stopAfter: 4)
        let path = directory + "/step-000004/optimizer.safetensors"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes[bytes.count - 5] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path))
        let second = try train(in: directory)
        #expect(second.adapter == calm.adapter)
        #expect(second.events.contains { if case .warning(let text) = $0 { text.contains("step-000004") && text.contains("skipped") } else { false } })
    }

    /// Three steps with a checkpoint after each: long enough for every kind of change on the disk.
    private var short: TrainingSettings {
        var short = settings()
        (short.numTrainEpochs, short.saveSteps, short.saveTotalLimit, short.evalSteps) = (1, 1, 1, 0)
        return short
    }

    @Test func `killed or failing at any change of the disk, the same run goes on from its last checkpoint to the same bits`() throws {
        let count = DyingFiles(last: .max, end: .kill)
        // One thread: hundreds of runs that take milliseconds each would wait for the second one.
        let whole = try train(in: folder(), files: count, settings: short, threads: 1)
        #expect(count.changes > 100)
        for last in 1...count.changes {
            // Every change meets one of the ends here, and all three in the tests of a folder and of a checkpoint.
            let end = DyingFiles.End.allCases[last % DyingFiles.End.allCases.count]
            let directory = folder()
            let saved = Counter()
            let error = #expect(throws: LorikeetError.self) {
                try train(in: directory, files: DyingFiles(last: last, end: end), settings: short, threads: 1) {
                    if case .checkpoint(let step) = $0 { saved.set(step) }
                }
            }
            #expect(error?.exit == .machineFailed)
            let outcome = try train(in: directory, settings: short, threads: 1)
            let first = outcome.events.compactMap { if case .step(let progress) = $0 { progress.step } else { nil } }.first
            #expect(outcome.adapter == whole.adapter && (first ?? 4) > saved.value, "change \(last): goes on at \(first ?? 4) after \(saved.value)")
            let left = try RealFiles().list(directory)
            #expect(left.contains("step-000003") && left.allSatisfy { !$0.contains(".") }, "change \(last): \(left)")
            try FileManager.default.removeItem(atPath: directory)
        }
    }

    @Test func `resumed and stopped at once, nothing is written`() throws {
        let directory = folder()
        _ = try train(in: directory, stopAfter: 2)
        let disk = DyingFiles(last: 1, end: .kill)
        let outcome = try train(in: directory, files: disk, stopAfter: 0)
        #expect(outcome.result.state.step == 2 && !outcome.result.finished && disk.changes == 0)
    }

    @Test func `with nothing to test, all validation rows are evaluated after the last step`() throws {
        var settings = short
        settings.evaluatesAtEnd = true
        let directory = folder()
        let (calm, outcome) = (try train(in: folder(), settings: short), try train(in: directory, settings: settings))
        let told = outcome.events.compactMap { if case .evaluation(let step, _, _, _, let rows, _) = $0 { [step, rows] } else { nil } }
        #expect(told == [[3, 4]] && outcome.adapter == calm.adapter && calm.result.state.evaluations.isEmpty)
        #expect(outcome.result.state.evaluations.map(\.step) == [3] && outcome.result.state.evaluations[0].loss > 0)
        // It is part of the last checkpoint, and made up for where that is one of a run that was to be tested.
        let again = try train(in: directory, settings: settings)
        #expect(again.result.state.evaluations == outcome.result.state.evaluations && again.events.isEmpty)
        let tested = folder()
        _ = try train(in: tested, settings: short)
        #expect(try train(in: tested, settings: settings).result.state.evaluations == outcome.result.state.evaluations)
    }

    @Test func `leftovers of a crash are removed and old checkpoints go`() throws {
        let directory = folder()
        try FileManager.default.createDirectory(atPath: directory + "/step-000099.partial", withIntermediateDirectories: true)
        _ = try train(in: directory)
        #expect(try RealFiles().list(directory) == ["step-000004", "step-000006"])
    }

    @Test func `resumed with more checkpoints than the limit, the oldest go`() throws {
        let directory = folder()
        var all = settings()
        all.saveTotalLimit = 0
        _ = try train(in: directory, settings: all)
        #expect(try RealFiles().list(directory).count == 3)
        _ = try train(in: directory)
        #expect(try RealFiles().list(directory) == ["step-000004", "step-000006"])
    }

    @Test func `a full disk keeps the last checkpoint, and with room the run ends as if nothing had been`() throws {
        let calm = try train(in: folder())
        let directory = folder()
        let first = try train(in: directory, stopAfter: 2)
        #expect(first.result.state.step == 2)
        let error = #expect(throws: LorikeetError.self) { try train(in: directory, files: FullDisk(bytes: 5000)) }
        #expect(error?.exit == .machineFailed)
        #expect(try RealFiles().list(directory) == ["step-000002"])
        #expect(try train(in: directory).adapter == calm.adapter)
    }

    @Test func `the way a step is split changes the gradient by rounding only`() throws {
        var alone = settings()
        alone.packing = false
        let (packed, single) = (try train(in: folder()), try train(in: folder(), settings: alone))
        let losses = [packed, single].map { $0.events.compactMap { if case .step(let progress) = $0 { [progress.loss, progress.gradientNorm] } else { nil } } }
        #expect(abs(losses[0][0][0] - losses[1][0][0]) < 1e-5 && abs(losses[0][0][1] - losses[1][0][1]) < 1e-4 * losses[0][0][1])
    }
}

/// A number that two closures share.
private final class Counter: Sendable {
    private let held = Mutex(0)
    var value: Int { held.withLock { $0 } }
    func set(_ value: Int) { held.withLock { $0 = value } }
}
