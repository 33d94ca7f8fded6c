import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import LorikeetTraining
import Testing

@testable import LorikeetDelivery
@testable import LorikeetEngine

/// A factor for each column of a norm's output, y' = y * s with s [C] that starts at 1: what a second kind of trained tensors has to
/// bring, and nothing else.
private struct NormScale: TrainedKind {
    static let role = TrainedRole("scale")

    init() {}
    init?(_ settings: LoRASettings) { nil }

    func tensors(of weights: [WeightDeclaration]) throws -> [TrainedDeclaration] {
        weights.filter { $0.tensor.hasSuffix("norm.weight") }.map {
            TrainedDeclaration(role: Self.role, module: $0.tensor, name: "base_model.model." + $0.tensor, shape: $0.shape)
        }
    }

    func initialise(_ tensor: TrainedTensor, seed: UInt64, _ values: UnsafeMutableBufferPointer<Float>) { values.update(repeating: 1) }

    func extend(_ site: TrainedSite, _ b: inout ProgramBuilder, frozen: (inout ProgramBuilder) -> ValueID) -> ValueID {
        let y = frozen(&b)
        guard case .norm(let weight) = site.use, let tensor = b.trained.tensor(Self.role, of: weight) else { return y }
        let scaled = b.transient("scaled", b.values[y].shape, b.values[y].type)
        b.append(Scale(x: y, scale: b.parameter(tensor), out: scaled))
        return scaled
    }

    func merging(_ tensor: String, _ values: TrainedValues) -> (() throws -> RowChange)? {
        guard let columns = values.layout.tensor(Self.role, of: tensor)?.elementCount else { return nil }
        return {
            let scale = try values.floats(Self.role, of: tensor)
            return { _, weights, _ in
                guard let scale else { return }
                for i in 0..<columns { weights[i] *= scale.pointer(as: Float.self)[i] }
            }
        }
    }

    struct Scale: Op {
        var x: ValueID
        var scale: ValueID
        var out: ValueID
        var kind: String { "scale" }
        var reads: [ValueID] { [x, scale] }
        var writes: [ValueID] { [out] }
        mutating func rename(_ name: Renaming) {
            name(&x)
            name(&scale)
            name(&out)
        }
        func check(_ operands: inout OperandCheck) { operands.expect(scale, "scale", [operands.shape(x)[1]], .f32) }
        func work(_ context: WorkContext) -> [Work] { [] }
        func differentiate(_ backward: inout Differentiation) {
            guard let dy = backward.gradient(of: out) else { return }
            let dx = backward.newGradient(of: x)
            backward.append(ScaleBackward(dy: dy, forward: self, dx: dx, dScale: backward.gradientOfParameter(scale)))
            if backward.needsGradient(x) { backward.contribute(dx, to: x) }
        }
        func run(_ context: borrowing CPURun) throws {
            let (x, s, out, shape) = (try context.floats(x), try context.floats(scale), try context.floats(out), context.values[out].shape)
            for i in 0..<shape[0] * shape[1] { out[i] = context.adapterOn ? x[i] * s[i % shape[1]] : x[i] }
        }
        func run(_ context: borrowing DeviceRun) throws {}
    }

    /// dx = dy * s;  ds += sum over rows of dy * x.
    struct ScaleBackward: Op {
        var dy: ValueID
        var forward: Scale
        var dx: ValueID
        var dScale: ValueID
        var kind: String { "scale.backward" }
        var reads: [ValueID] { [dy, forward.x, forward.scale, dScale] }
        var writes: [ValueID] { [dx, dScale] }
        mutating func rename(_ name: Renaming) {
            name(&dy)
            forward.rename(name)
            name(&dx)
            name(&dScale)
        }
        func check(_ operands: inout OperandCheck) { operands.expect(dx, "dx", operands.shape(dy), .activationOrResidual) }
        func work(_ context: WorkContext) -> [Work] { [] }
        func run(_ context: borrowing CPURun) throws {
            let (dy, x, s) = (try context.floats(dy), try context.floats(forward.x), try context.floats(forward.scale))
            let (dx, ds, shape) = (try context.floats(dx), try context.floats(dScale), context.values[dx].shape)
            for i in 0..<shape[0] * shape[1] {
                dx[i] = dy[i] * s[i % shape[1]]
                ds[i % shape[1]] += dy[i] * x[i]
            }
        }
        func run(_ context: borrowing DeviceRun) throws {}
    }
}

/// A kind of trained tensors is a file of its own: everything else walks the list.
struct TrainedKindTests {
    private static let lora = LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj", "down_proj"])
    private static let llama = TinyRun.testsFolder.appending(path: "Reference/llama").path

    private func layout(_ kinds: [any TrainedKind] = [LoRAKind(lora), NormScale()]) throws -> TrainedLayout {
        try TrainedLayout(kinds: kinds, weights: ModelSource.open(Self.llama).configuration.family.weights())
    }

    private func model() throws -> Model {
        try compute.model(ModelSource.open(Self.llama), storage: .f32, trained: layout(), seed: 5)
    }

    private let compute = Compute(cpu: CPU(threads: 2))

    private func scratch() -> String { FileManager.default.temporaryDirectory.appending(path: "trained-" + UUID().uuidString).path }

    private func batch() -> TokenBatch { TokenBatch(sequence: (0..<20).map { Int32(($0 * 37) % 157 + 3) }) }

    @Test func `the list has a range of its own for each tensor, and the first kind's numbers do not depend on a second`() throws {
        let (one, both) = (try layout([LoRAKind(Self.lora)]), try layout())
        let norms = both.tensors.filter { $0.role == NormScale.role }
        #expect(both.tensors.prefix(one.tensors.count) == one.tensors[...] && norms.count == 2 * 3 + 1)
        #expect(both.elementCount == one.elementCount + norms.reduce(0) { $0 + $1.elementCount })
        var end = 0
        for tensor in both.tensors.sorted(by: { $0.offset < $1.offset }) {
            #expect(tensor.offset == end)
            end = tensor.range.upperBound
        }
        #expect(end == both.elementCount)
        let set = try TrainedSet(layout: both)
        let alone = try TrainedSet(layout: one)
        for trained in [set, alone] { trained.initialise(seed: 7) }
        #expect(Array(set.floats(.values).prefix(one.elementCount)) == Array(alone.floats(.values)))
        #expect(set.floats(.values).suffix(both.elementCount - one.elementCount).allSatisfy { $0 == 1 })
    }

    @Test func `the second kind's gradient is the slope of the loss, and the optimiser moves it`() throws {
        let model = try model()
        let session = try Session(model: model, maximumTokens: 32)
        let batch = batch()
        _ = try session.accumulate(batch, zeroFirst: true)
        let (values, gradients) = (model.adapters.floats(.values), Array(model.adapters.floats(.gradients)))
        func loss() throws -> Double { try session.evaluate(batch).reduce(0) { $0 - Double($1) } }
        for tensor in model.adapters.tensors where tensor.role == NormScale.role {
            // Along the gradient itself: its norm is the slope.
            let norm = gradients[tensor.range].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            let step = 1e-2 / norm
            let before = Array(values)
            func moved(_ by: Double) throws -> Double {
                for i in tensor.range { values[i] = before[i] + Float(by) * gradients[i] }
                defer { for i in tensor.range { values[i] = before[i] } }
                return try loss()
            }
            let slope = try (moved(step) - moved(-step)) / (2 * step)
            #expect(norm > 0 && abs(slope - norm * norm) <= 2e-2 * norm * norm, "\(tensor.name): \(slope), \(norm * norm)")
        }
        let before = Array(values)
        _ = try session.optimiserStep(learningRate: 1e-2, optimiser: AdamWSettings())
        for tensor in model.adapters.tensors where tensor.role == NormScale.role { #expect(Array(values[tensor.range]) != Array(before[tensor.range])) }
        model.adapterEnabled = false
        let base = try compute.model(ModelSource.open(Self.llama), storage: .f32, lora: nil)
        #expect(try session.evaluate(batch) == Session(model: base, maximumTokens: 32).evaluate(batch))
    }

    private static let samples = (0..<16).map { number in
        let length = 4 + number % 9
        return TokenSample(
            record: number, ids: (0..<length).map { Int32((number * 31 + $0 * 17) % 157 + 3) }, trained: (0..<length).map { $0 > 1 })
    }

    private static let configuration = AdapterConfiguration(r: 4, alpha: 8, dropout: 0, targetModules: lora.targetModules)

    /// Trains from the newest checkpoint of a directory; stops before a step where it is told to.
    private func train(in directory: String, stopBefore: Int? = nil) throws -> (model: Model, steps: Int) {
        let model = try model()
        var settings = TrainingSettings()
        (settings.perDeviceTrainBatchSize, settings.gradientAccumulationSteps, settings.maxSteps) = (2, 2, 4)
        (settings.learningRate, settings.saveSteps, settings.evalSteps, settings.tokensPerBatch) = (1e-2, 1, 0, 32)
        let steps = Steps()
        let trainer = Trainer(
            session: try Session(model: model, maximumTokens: 64), settings: settings,
            checkpoints: CheckpointStore(directory: directory, files: RealFiles(), adapterConfiguration: Self.configuration), clock: SystemClock(),
            shouldStop: { stopBefore.map { steps.count + 1 >= $0 } ?? false },
            report: { if case .step = $0 { steps.count += 1 } })
        _ = try trainer.run(train: SampleSet(Self.samples), validation: SampleSet([]))
        return (model, steps.count)
    }

    private final class Steps: @unchecked Sendable { var count = 0 }

    @Test func `a checkpoint holds it: training that was stopped goes on to the same bits`() throws {
        let whole = try train(in: scratch())
        let directory = scratch()
        #expect(try train(in: directory, stopBefore: 3).steps == 2)
        let rest = try train(in: directory)
        #expect(rest.steps == 2)
        let (a, b) = (Array(whole.model.adapters.floats(.values)), Array(rest.model.adapters.floats(.values)))
        #expect(a == b)
        let scales = whole.model.adapters.tensors.filter { $0.role == NormScale.role }
        #expect(scales.allSatisfy { a[$0.range].contains { $0 != 1 } })
    }

    @Test func `an adapter folder holds it, and merged into the model it computes the same`() throws {
        let (model, _) = try train(in: scratch())
        let folder = scratch()
        try CheckpointStore.writeAdapter(model.adapters, configuration: Self.configuration, to: folder, files: RealFiles())
        let file = try AdapterFile.read(directory: folder)
        let fresh = try self.model()
        try fresh.loadAdapter(file)
        #expect(Array(fresh.adapters.floats(.values)) == Array(model.adapters.floats(.values)))

        let source = try ModelSource.open(Self.llama)
        let add = AddAdapter(try TrainedValues(file, layout(), fix: ""), cpu: CPU(threads: 2))
        let merged = scratch()
        try RealFiles().createDirectory(merged)
        let sink = SafetensorsSink(directory: merged, files: RealFiles(), shardBytes: 1 << 30)
        let cpu = CPU(threads: 2)
        try sink.write(try TensorStream(source, linearsThrough: .stored, cpu: cpu).tensors().map { try add.apply($0) }) { _ in }
        try RealFiles().writeDurably(RealFiles().read(Self.llama + "/config.json"), to: merged + "/config.json")
        func logProbabilities(_ model: Model) throws -> [Float] { try Session(model: model, maximumTokens: 32).evaluate(batch()) }
        let alone = try logProbabilities(compute.model(ModelSource.open(merged), storage: .f32, lora: nil))
        let trained = try logProbabilities(model)
        #expect(zip(alone, trained).allSatisfy { abs($0 - $1) <= 1e-4 * abs($1) })
        model.adapterEnabled = false
        #expect(try zip(alone, logProbabilities(model)).contains { abs($0 - $1) > 1e-2 * abs($1) })
        // A model whose list lacks the kind refuses the file by name.
        let plain = try compute.model(source, storage: .f32, lora: Self.lora)
        let error = #expect(throws: LorikeetError.self) { try plain.loadAdapter(file) }
        #expect(error?.description.contains("'base_model.model.model.") == true, "\(error?.description ?? "")")
    }

    /// A kind whose tensors no op reads.
    private struct Forgotten: TrainedKind {
        init() {}
        init?(_ settings: LoRASettings) { nil }
        func tensors(of weights: [WeightDeclaration]) -> [TrainedDeclaration] {
            [TrainedDeclaration(role: TrainedRole("forgotten"), module: "model", name: "forgotten", shape: [3])]
        }
        func initialise(_ tensor: TrainedTensor, seed: UInt64, _ values: UnsafeMutableBufferPointer<Float>) {}
        func extend(_ site: TrainedSite, _ b: inout ProgramBuilder, frozen: (inout ProgramBuilder) -> ValueID) -> ValueID { frozen(&b) }
        func merging(_ tensor: String, _ values: TrainedValues) -> (() throws -> RowChange)? { nil }
    }

    @Test func `a program with both kinds is sound, and a trained tensor that no op uses is named`() throws {
        let family = try ModelSource.open(Self.llama).configuration.family
        for purpose in [ProgramPurpose.training, .evaluation, .decoding(slots: 3, positions: 32, outputRows: 2)] {
            for policy in [PassPolicy.norms, PassPolicy(blocks: 2)] {
                try family.program(purpose, tokens: 32, adapters: layout(), target: .cpu(threads: 2), passes: policy).verify()
            }
        }
        let forgotten = try layout([LoRAKind(Self.lora), Forgotten()])
        var builder = ProgramBuilder(purpose: .training, tokens: 32, adapters: forgotten, target: .cpu(threads: 2))
        family.forward(&builder)
        #expect(builder.unused == ["forgotten"])
        // Debug builds stop at such a program where it is built.
        var program = try family.program(.training, tokens: 32, adapters: layout(), target: .cpu(threads: 2))
        program.unusedTensors = builder.unused
        #expect(program.violations() == ["no op uses the trained tensor 'forgotten'"])
    }
}
