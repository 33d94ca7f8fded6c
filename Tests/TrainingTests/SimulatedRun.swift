import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import SimulatedTraining
import Synchronization

@testable import LorikeetTraining

/// A training on a simulated device, in a directory of its own. `train` may be called again: it goes on from the newest checkpoint, as a new process would.
struct SimulatedRun {
    let directory = FileManager.default.temporaryDirectory.appending(path: "simulated-" + UUID().uuidString).path
    var settings = TrainingSettings()
    var samples = 400
    /// Sets up each process's device.
    var prepare: (SimulatedDevice) -> Void = { _ in }
    /// The session's time, given the clock's uptime at the start of training; nil sets no limit.
    var time: (Double) -> TrainingTime? = { _ in nil }
    var canRestart = true

    /// Steps of two records, a checkpoint every ten.
    init() {
        (settings.perDeviceTrainBatchSize, settings.gradientAccumulationSteps, settings.numTrainEpochs) = (2, 1, 1)
        (settings.learningRate, settings.schedule, settings.saveSteps, settings.evalSteps) = (0.05, .linear, 10, 0)
        (settings.tokensPerBatch, settings.saveMinutes) = (64, 0)
    }

    struct Outcome {
        let result: TrainingResult
        let x: Double
        let events: [TrainingEvent]
        /// The clock's uptime at the end.
        let end: Double

        var troubles: [TrainingTrouble] { events.compactMap { if case .trouble(let trouble) = $0 { trouble } else { nil } } }
        var steps: [TrainingProgress] { events.compactMap { if case .step(let progress) = $0 { progress } else { nil } } }
        var plans: [StepCourse.Change] { events.compactMap { if case .planned(let change, _) = $0 { change } else { nil } } }
    }

    private static func sample(_ number: Int) -> TokenSample {
        TokenSample(record: number, ids: [1, Int32(number % 150 + 3), Int32(number / 150 + 3), 2], trained: [false, true, true, true])
    }

    var checkpoints: CheckpointStore {
        CheckpointStore(
            directory: directory, files: UnsyncedFiles(),
            adapterConfiguration: AdapterConfiguration(r: 2, alpha: 8, dropout: 0, targetModules: ["q_proj"]))
    }

    static func trained() throws -> TrainedSet {
        let weights = try ModelSource.open(TrainerTests.llama).configuration.family.weights()
        return try TrainedSet(layout: TrainedLayout(LoRASettings(r: 2, alpha: 8, targetModules: ["q_proj"]), weights: weights))
    }

    /// - Parameter stop: told each process's steps so far; true stops it.
    func train(clock: SettableClock = SettableClock(), stop: @escaping @Sendable (Int) -> Bool = { _ in false }) throws -> Outcome {
        let device = SimulatedDevice(try Self.trained(), clock: clock)
        prepare(device)
        let steps = StepCount()
        var events: [TrainingEvent] = []
        var trainer = Trainer(
            session: device, settings: settings, checkpoints: checkpoints, clock: clock, shouldStop: { stop(steps.value) },
            report: { event in
                if case .step = event { steps.add() }
                events.append(event)
            })
        trainer.time = time(clock.uptime)
        if canRestart { trainer.restart = { device.begin() } }
        let result = try trainer.run(train: SampleSet((0..<samples).map(Self.sample)), validation: SampleSet((0..<8).map(Self.sample)))
        return Outcome(result: result, x: device.x, events: events, end: clock.uptime)
    }
}

/// Steps of a process, which training and whoever stops it count.
private final class StepCount: Sendable {
    private let steps = Mutex(0)
    var value: Int { steps.withLock { $0 } }
    func add() { steps.withLock { $0 += 1 } }
}
