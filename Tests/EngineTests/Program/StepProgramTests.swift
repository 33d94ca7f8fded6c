import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// Plain gradient descent: what a second optimiser has to bring, and nothing else.
private struct GradientDescent: Optimiser {
    static let name = "sgd"
    static let moments: [String] = []
    static let numberCount = 1
    var maxGradNorm: Double?

    init() {}
    init(_ settings: OptimiserSettings) { maxGradNorm = settings.maxGradNorm }

    func numbers(learningRate: Double, update: Int) -> [Double] { [learningRate] }
    func op(_ operands: OptimiserOperands) -> any Op { Descent(operands: operands) }

    struct Descent: Op {
        var operands: OptimiserOperands
        var kind: String { "sgd" }
        var reads: [ValueID] { operands.reads }
        var writes: [ValueID] { operands.writes }
        mutating func rename(_ name: Renaming) { operands.rename(name) }
        func check(_ check: inout OperandCheck) { operands.check(&check, numberCount: 1) }
        func work(_ context: WorkContext) -> [Work] { [] }
        func run(_ context: borrowing CPURun) throws {
            let (p, g) = (try context.floats(operands.parameters), try context.floats(operands.gradients))
            let rate = Float(try context.doubles(operands.numbers)[0])
            for i in 0..<context.values[operands.parameters].elementCount { p[i] -= rate * g[i] }
        }
        func run(_ context: borrowing DeviceRun) throws {}
    }
}

/// Twice the cross-entropy, with weights that depend on the forward pass: a second loss, which the fusion table must leave alone.
private struct Doubled: Loss {
    func op(logProbabilities: ValueID, tokenWeights: ValueID, inputs: ProgramInputs) -> (any LossOp)? {
        inputs.weights.map { DoubledWeights(logProbabilities: logProbabilities, weights: $0, tokenWeights: tokenWeights) }
    }

    struct DoubledWeights: LossOp {
        var logProbabilities: ValueID
        var weights: ValueID
        var tokenWeights: ValueID
        var kind: String { "doubled" }
        var reads: [ValueID] { [logProbabilities, weights] }
        var writes: [ValueID] { [tokenWeights] }
        var knownWeights: ValueID? { nil }
        mutating func rename(_ name: Renaming) {
            name(&logProbabilities)
            name(&weights)
            name(&tokenWeights)
        }
        func check(_ operands: inout OperandCheck) { operands.expect(tokenWeights, "token weights", nil, .f32) }
        func work(_ context: WorkContext) -> [Work] { [] }
        func run(_ context: borrowing CPURun) throws {
            let (from, to) = (try context.floats(weights), try context.floats(tokenWeights))
            for i in 0..<context.values[weights].elementCount { to[i] = 2 * from[i] }
        }
        func run(_ context: borrowing DeviceRun) throws {}
    }
}

struct StepProgramTests {
    @Test(arguments: VerifyTests.targets) func `the step program is sound and says what a checkpoint holds`(target: ProgramTarget) throws {
        let program = StepProgram.build(count: 1000, optimiser: AdamWSettings.self, settings: AdamWSettings(), target: target)
        try program.verify()
        #expect(program.checkpointValues.map(\.name) == ["parameters", "first_moment", "second_moment", "step_state"])
        #expect(program.persistentBytes >= 16 * 1000 + 20 && program.persistentBytes <= 16 * 1000 + 4 * 1000 + 6 * 256)
    }

    @Test func `another optimiser is a file of its own`() throws {
        let model = try TinyModel.model()
        let session = try Session(model: model, maximumTokens: 32)
        _ = try session.accumulate(TinyModel.pack([TinyModel.tokens(12)]), zeroFirst: true)
        let (before, gradients) = (Array(model.adapters.floats(.values)), Array(model.adapters.floats(.gradients)))
        let result = try session.optimiserStep(learningRate: 0.5, optimiser: GradientDescent())
        #expect(!result.skipped && zip(model.adapters.floats(.values), zip(before, gradients)).allSatisfy { $0 == $1.0 - 0.5 * $1.1 })
        #expect(model.adapters.state.updates == 1)
    }

    @Test func `a plan counts what its optimiser keeps`() throws {
        func plan(_ optimiser: any Optimiser.Type) throws -> ProgramPlan {
            var request = ProgramRequest(
                storage: .stored, lora: LoRASettings(r: 4, targetModules: ["q_proj"]), sizes: SessionSizes(training: 32, evaluation: 32),
                target: .cpu(threads: 2))
            request.optimiser = optimiser
            return try Session.plan(TinyModel.configuration(layers: 2), request) { _ in nil }
        }
        let (adamW, descent) = (try plan(AdamWSettings.self), try plan(GradientDescent.self))
        #expect(adamW.checkpointBytes - descent.checkpointBytes == 2 * 4 * adamW.trainableParameters)
        #expect(adamW.adapterBytes - descent.adapterBytes >= 2 * 4 * adamW.trainableParameters)
        let tables = Optimisers.table.map { $0.name }
        #expect(Set(tables).count == tables.count && tables.allSatisfy { Optimisers.named($0).name == $0 })
    }

    @Test func `a session keeps a step's program for its optimiser alone`() throws {
        let model = try TinyModel.model()
        let session = try Session(model: model, maximumTokens: 32)
        _ = try session.accumulate(TinyModel.pack([TinyModel.tokens(12)]), zeroFirst: true)
        let gradients = Array(model.adapters.floats(.gradients))
        func change(_ optimiser: any Optimiser) throws -> [Float] {
            let before = Array(model.adapters.floats(.values))
            _ = try session.optimiserStep(learningRate: 0.25, optimiser: optimiser)
            return zip(before, model.adapters.floats(.values)).map { $0 - $1 }
        }
        for optimiser in [GradientDescent(), GradientDescent()] { #expect(try zip(change(optimiser), gradients).allSatisfy { abs($0 - 0.25 * $1) < 1e-5 }) }
        // AdamW's first steps are of the learning rate's size, whatever the gradient's; without memory of the first moment too.
        let large = gradients.indices.filter { abs(gradients[$0]) > 1e-3 }
        for settings in [AdamWSettings(), AdamWSettings(beta1: 0)] {
            let moved = try change(settings)
            #expect(large.allSatisfy { abs(moved[$0]) > 0.05 && moved[$0].sign == gradients[$0].sign })
        }
        #expect(try zip(change(GradientDescent()), gradients).allSatisfy { abs($0 - 0.25 * $1) < 1e-5 })
        #expect(model.adapters.state.updates == 5)
    }

    @Test func `a loss whose weights come from the forward pass has its own adjoint of the head`() throws {
        let model = try TinyModel.model()
        let layout = model.adapters.layout
        func program(_ loss: any Loss) -> Program {
            var builder = ProgramBuilder(purpose: .training, tokens: 32, adapters: layout, target: .cpu(threads: 2), loss: loss)
            model.family.forward(&builder)
            return builder.build()
        }
        let (plain, doubled) = (program(CrossEntropy()), program(Doubled()))
        try doubled.verify()
        #expect(plain.ops.contains { $0 is HeadGradient } && !plain.ops.contains { $0 is HeadLogProbabilities })
        #expect(doubled.ops.contains { $0 is HeadLogProbabilities } && doubled.ops.contains { $0 is HeadGradient })
        #expect(doubled.ops.contains { $0.kind == "doubled" })
    }
}
