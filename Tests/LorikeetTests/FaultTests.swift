import EmulatedDevice
import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetTraining
import SimulatedTraining
import Testing

/// NaN and infinity put into activations and gradients of a real model at random steps: every run ends, with a loss like those of undisturbed runs.
///
/// `Scripts/fault_runs.sh 100` makes 100 of them.
struct FaultTests {
    private static let samples = (0..<24).map { number in
        let length = 6 + number % 5
        return TokenSample(
            record: number, ids: (0..<length).map { Int32((number * 31 + $0 * 17) % 157 + 3) }, trained: (0..<length).map { $0 > 1 })
    }

    private struct Outcome {
        let loss: Double
        let adapter: [Float]
        let result: TrainingResult
    }

    /// - Parameters:
    ///   - element: nil trains on the processor.
    ///   - seed: of order and dropout.
    private static func train(_ element: DeviceElement?, seed: UInt64, faults: [Int: FaultyDevice.Fault] = [:]) throws -> Outcome {
        let lora = LoRASettings(r: 4, alpha: 8, dropout: 0.1, targetModules: ["q_proj", "v_proj"])
        let card = element.map { EmulatedDevice(architecture: $0 == .f16 ? 75 : 80) }
        let compute = Compute(cpu: CPU(threads: 1), device: card, element: element ?? .f32)
        let model = try compute.model(ModelSource.open(TinyRun.testsFolder.appending(path: "Reference/llama").path), storage: .nf4, lora: lora, seed: 5)
        let device = FaultyDevice(try Session(model: model, maximumTokens: 64), faults)
        var settings = TrainingSettings()
        (settings.perDeviceTrainBatchSize, settings.gradientAccumulationSteps, settings.numTrainEpochs) = (2, 2, 20)
        (settings.saveSteps, settings.tokensPerBatch, settings.learningRate, settings.seed) = (5, 64, 2e-2, seed)
        settings.evaluatesAtEnd = true
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var trainer = Trainer(
            session: device, settings: settings,
            checkpoints: CheckpointStore(
                directory: folder, files: UnsyncedFiles(),
                adapterConfiguration: AdapterConfiguration(r: 4, alpha: 8, dropout: 0.1, targetModules: lora.targetModules)),
            clock: SettableClock(), report: { _ in })
        trainer.restart = { model.adapters.initialise(seed: 5) }
        let result = try trainer.run(train: SampleSet(Self.samples), validation: SampleSet(Array(Self.samples.prefix(12))))
        return Outcome(loss: result.state.evaluations.last?.loss ?? .nan, adapter: Array(model.adapters.floats(.values)), result: result)
    }

    /// Numbers that repeat, in 0..<limit.
    private struct Numbers {
        var state: UInt64

        mutating func next(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
    }

    /// Runs of each kind of device; the script asks for more.
    private static let runs = ProcessInfo.processInfo.environment["LORIKEET_FAULT_RUNS"].flatMap { Int($0) } ?? 8
    private static let seeds: [UInt64] = [1, 2, 3, 4, 5, 6, 7, 8]
    /// Undisturbed runs on the processor, one for each seed.
    private static let calm = Result { try seeds.map { try train(nil, seed: $0) } }

    @Test(arguments: [nil, DeviceElement.f16, .bf16]) func `faults at random steps: every run ends, and its loss is like that of undisturbed runs`(
        element: DeviceElement?
    ) throws {
        // An emulated card is slow: its losses are compared with those of the processor, which are the same but for rounding.
        let calm = try Self.calm.get()
        let losses = calm.map(\.loss)
        let (least, most) = (losses.min() ?? 0, losses.max() ?? 0)
        #expect(most > least && calm.allSatisfy { $0.result.state.trouble == TrainerState().trouble })
        var numbers = Numbers(state: 11)
        for run in 0..<(element == nil ? Self.runs : max(1, Self.runs / 8)) {
            var faults: [Int: FaultyDevice.Fault] = [:]
            // A run has 120 steps of one micro-batch; a fault now and then meets the repetition of the step before, which is skipped then.
            for _ in 0...numbers.next(5) {
                let at = numbers.next(118)
                faults[at] = FaultyDevice.Fault.allCases[numbers.next(FaultyDevice.Fault.allCases.count)]
                if numbers.next(3) == 0 { faults[at + 1] = FaultyDevice.Fault.allCases[numbers.next(FaultyDevice.Fault.allCases.count)] }
            }
            let which = run % Self.seeds.count
            let outcome = try Self.train(element, seed: Self.seeds[which], faults: faults)
            let state = outcome.result.state
            #expect(outcome.result.finished && state.step == 120 && state.trouble.repeated + state.trouble.overflows > 0, "run \(run): \(faults)")
            // A tenth of the spread beyond the calm runs' least and most: those are eight of many seeds.
            let margin = (most - least) / 10
            #expect(outcome.loss >= least - margin && outcome.loss <= most + margin, "run \(run): \(outcome.loss), calm \(least) to \(most)")
            // Where no step was lost and no scale changed, nothing is different at all.
            if state.skipped == 0, state.trouble.overflows == 0 {
                let undisturbed = element == nil ? calm[which] : try Self.train(element, seed: Self.seeds[which])
                #expect(outcome.adapter == undisturbed.adapter, "run \(run)")
            }
        }
    }

    @Test func `records that fail every time are left out, and the run ends`() throws {
        // Both attempts of ten steps in a row.
        let faults = Dictionary(uniqueKeysWithValues: (20..<40).map { ($0, FaultyDevice.Fault.activationNotANumber) })
        let outcome = try Self.train(nil, seed: 3, faults: faults)
        #expect(outcome.result.finished && outcome.loss.isFinite && outcome.adapter.allSatisfy(\.isFinite))
        #expect(outcome.result.state.trouble.rewinds == 1 && outcome.result.state.trouble.excludedSteps == [20..<30])
    }
}

/// A session whose activations or gradients are changed in some micro-batches.
private final class FaultyDevice: TrainingDevice {
    enum Fault: CaseIterable { case activationNotANumber, activationInfinite, gradientNotANumber, gradientInfinite }

    private let session: Session
    /// By how many micro-batches came before.
    private let faults: [Int: Fault]
    private var batches = 0

    init(_ session: Session, _ faults: [Int: Fault]) { (self.session, self.faults) = (session, faults) }

    var trained: TrainedSet { session.trained }
    var sharesPrefixes: Bool { session.sharesPrefixes }
    var lossScaling: LossScaling? { session.lossScaling }
    var interruption: (@Sendable () -> Bool)? {
        get { session.interruption }
        set { session.interruption = newValue }
    }

    func backward(_ batch: TokenBatch, zeroFirst: Bool) throws -> () throws -> Double {
        batches += 1
        guard let fault = faults[batches - 1] else { return try session.backward(batch, zeroFirst: zeroFirst) }
        let (values, gradients) = (trained.floats(.values), trained.floats(.gradients))
        let place = batches * 7 % values.count
        try session.pullAdapters()
        let before = values[place]
        // What an adapter computes is an activation; the parameter itself is as before once the micro-batch is done.
        switch fault {
        case .activationNotANumber: values[place] = .nan
        case .activationInfinite: values[place] = .infinity
        case .gradientNotANumber, .gradientInfinite: break
        }
        try session.pushAdapters()
        let loss = try session.backward(batch, zeroFirst: zeroFirst)()
        try session.pullAdapters()
        values[place] = before
        switch fault {
        case .gradientNotANumber: gradients[place] = .nan
        case .gradientInfinite: gradients[place] = -.infinity
        case .activationNotANumber, .activationInfinite: break
        }
        try session.pushAdapters()
        return { loss }
    }

    func submitStep(learningRate: Double, optimiser: any Optimiser) throws -> () throws -> OptimiserResult {
        try session.submitStep(learningRate: learningRate, optimiser: optimiser)
    }

    func meanLoss(of samples: SampleSet, tokensPerBatch: Int) throws -> Double? { try session.meanLoss(of: samples, tokensPerBatch: tokensPerBatch) }
    func setLossScaling(_ scaling: LossScaling) throws { try session.setLossScaling(scaling) }
    func pullAdapters() throws { try session.pullAdapters() }
    func pushAdapters() throws { try session.pushAdapters() }
}
