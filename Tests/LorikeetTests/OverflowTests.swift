import EmulatedDevice
import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetTraining
import Testing

/// float16 on a card: what a step that overflows does, and what several do.
struct OverflowTests {
    private static let samples = (0..<24).map { number in
        let length = 6 + number % 5
        return TokenSample(
            record: number, ids: (0..<length).map { Int32((number * 31 + $0 * 17) % 157 + 3) }, trained: (0..<length).map { $0 > 1 })
    }

    private struct Training {
        let session: Session
        let store: CheckpointStore
        var settings = TrainingSettings()

        /// - Parameter element: nil trains on the processor.
        init(_ element: DeviceElement? = .f16) throws {
            let lora = LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj", "v_proj"])
            let device = element.map { EmulatedDevice(architecture: $0 == .f16 ? 75 : 80) }
            let compute = Compute(cpu: CPU(threads: 2), device: device, element: element ?? .f32)
            let model = try compute.model(ModelSource.open(TinyRun.testsFolder.appending(path: "Reference/llama").path), storage: .nf4, lora: lora, seed: 5)
            session = try Session(model: model, maximumTokens: 64)
            store = CheckpointStore(
                directory: FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path, files: RealFiles(),
                adapterConfiguration: AdapterConfiguration(r: 4, alpha: 8, dropout: 0, targetModules: lora.targetModules))
            (settings.perDeviceTrainBatchSize, settings.gradientAccumulationSteps, settings.maxSteps) = (2, 1, 6)
            (settings.saveSteps, settings.tokensPerBatch, settings.learningRate) = (2, 64, 1e-3)
        }

        func run(validation: [TokenSample] = [], _ report: @escaping (TrainingEvent) throws -> Void = { _ in }) throws -> TrainingResult {
            try Trainer(session: session, settings: settings, checkpoints: store, clock: SystemClock(), report: report)
                .run(train: SampleSet(OverflowTests.samples), validation: SampleSet(validation))
        }

        /// What no loss scale can save.
        func poison() throws {
            session.model.adapters.floats(.values).update(repeating: 1e30)
            try session.pushAdapters()
        }
    }

    @Test func `a loss scale too large costs time and no step`() throws {
        var training = try Training()
        training.settings.maxSteps = 12
        try training.session.setLossScaling(LossScaling(scale: LossScaling.largest, goodSteps: 7))
        let before = Array(training.session.model.adapters.floats(.values))
        var warnings: [String] = []
        let result = try training.run { if case .trouble(let trouble) = $0, trouble.kind == .overflow { warnings.append(trouble.text) } }
        #expect(result.finished && result.state.skipped == 0 && (1...10).contains(warnings.count), "\(warnings)")
        for (i, warning) in warnings.enumerated() { #expect(warning.hasSuffix("done again at \(Int(LossScaling.largest) / (2 << i))"), "\(warning)") }
        #expect(training.session.lossScaling?.scale == LossScaling.largest / Float(1 << warnings.count))
        #expect(result.trainLoss.isFinite && result.state.stepsWithoutLoss == 0)
        let values = training.session.model.adapters.floats(.values)
        #expect(values.allSatisfy(\.isFinite) && zip(values, before).contains { $0 != $1 })
        // The checkpoint goes on where this ended.
        let other = try Training()
        let kept = try #require(try training.store.loadNewest(into: other.session.model.adapters) { _ in })
        #expect(kept.lossScaling == training.session.lossScaling && kept.skipped == 0)
    }

    @Test(arguments: [DeviceElement.f16, .bf16, nil]) func `losses that stay no numbers end in one sentence where there is no checkpoint`(
        element: DeviceElement?
    )
        throws
    {
        var training = try Training(element)
        training.settings.maxSteps = 30
        training.settings.saveSteps = 0
        try training.poison()
        let poisoned = training
        var skipped = 0
        let error = #expect(throws: LorikeetError.self) { try poisoned.run { if case .trouble(let trouble) = $0, trouble.action == .skipped { skipped += 1 } } }
        #expect(error?.exit == .checkFailed && skipped == Trainer.maximumUnrecoverableSteps)
        #expect(
            error?.description.contains("steps 1 to 10 had gradients or losses that are not finite") == true
                && error?.description.contains("no checkpoint") == true, "\(String(describing: error))")
    }

    @Test func `a validation loss that is no number is warned of`() throws {
        var training = try Training(.bf16)
        (training.settings.maxSteps, training.settings.saveSteps, training.settings.evalSteps) = (3, 0, 1)
        var warnings: [String] = []
        let listen: (TrainingEvent) -> Void = { if case .warning(let text) = $0 { warnings.append(text) } }
        _ = try training.run(validation: Array(Self.samples.prefix(2)), listen)
        #expect(!warnings.contains { $0.contains("validation loss") }, "\(warnings)")
        var poisoned = try Training(.bf16)
        poisoned.settings = training.settings
        try poisoned.poison()
        _ = try poisoned.run(validation: Array(Self.samples.prefix(2)), listen)
        #expect(warnings.contains("the validation loss of step 1 is not a finite number"), "\(warnings)")
    }

    @Test(arguments: [DeviceElement.f16, nil]) func `several lost steps in a row go back to the last checkpoint and are left out`(element: DeviceElement?)
        throws
    {
        var training = try Training(element)
        training.settings.maxSteps = 14
        let run = training
        var (poisoned, warnings) = (0, [String]())
        let result = try run.run { event in
            if case .checkpoint(2) = event, poisoned == 0 {
                poisoned = 1
                try run.poison()
            }
            if case .trouble(let trouble) = event, trouble.action == .rewound { warnings.append(trouble.text) }
        }
        #expect(warnings.count == 1 && warnings[0].contains("goes back to the checkpoint of step"), "\(warnings)")
        #expect(result.finished && result.trainLoss.isFinite && result.state.trouble.rewinds == 1 && result.state.trouble.excludedSteps == [2..<12])
        // Each of the ten was done again before it was left out; what came before the rewind is told of, and none of it counts as skipped now.
        #expect(result.state.trouble.repeated == 10 && result.state.skipped == 0)
        #expect(run.session.model.adapters.floats(.values).allSatisfy { $0.isFinite && abs($0) < 1e3 })
    }

    @Test(arguments: [DeviceElement.f16, nil]) func `one lost step is skipped and counted, and parameters stay finite`(element: DeviceElement?) throws {
        let training = try Training(element)
        let before = Array(training.session.model.adapters.floats(.values))
        training.session.model.adapters.floats(.gradients)[3] = .nan
        try training.session.pushAdapters()
        let result = try training.session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
        try training.session.pullAdapters()
        #expect(result.skipped && training.session.model.adapters.state.updates == 0)
        #expect(Array(training.session.model.adapters.floats(.values)) == before)
        #expect(training.session.model.adapters.floats(named: "second_moment").allSatisfy { $0 == 0 })
    }

    @Test func `training gives up after three returns, and keeps the last checkpoint`() throws {
        var training = try Training(nil)
        training.settings.maxSteps = 60
        let run = training
        var poisoned = false
        let error = #expect(throws: LorikeetError.self) {
            _ = try run.run { event in
                if case .checkpoint(2) = event { poisoned = true }
                // Whatever is restored is broken again.
                if case .step = event, poisoned { try run.poison() }
            }
        }
        #expect(error?.exit == .checkFailed && error?.description.contains("gone back 3 times") == true, "\(String(describing: error))")
        #expect(try RealFiles().list(run.store.directory).contains("step-000002"))
    }
}
