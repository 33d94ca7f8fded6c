import LorikeetDevices
import Testing

@testable import LorikeetEngine

/// `Program.verify` accepts what families and passes make, and names each kind of mistake.
struct VerifyTests {
    static let targets: [ProgramTarget] = [.cpu(threads: 2), .device(.f32), .device(.f16), .device(.bf16)]

    /// A training program whose adapters the kernels of a card take along: ranks of eight, heads of 64.
    static func program(
        _ target: ProgramTarget, purpose: ProgramPurpose = .training, passes: PassPolicy = .norms, fuse: Bool = true, dropout: Double = 0,
        modules: [String] = ["all-linear"]
    ) throws -> Program {
        let family = try TinyModel.configuration(hidden: 64, intermediate: 64, heads: 2, headDimension: 64).family
        let lora = LoRASettings(r: 8, dropout: dropout, targetModules: modules)
        var policy = passes
        policy.fuse = fuse
        return family.program(purpose, tokens: 32, adapters: try TrainedLayout(lora, weights: family.weights()), target: target, passes: policy)
    }

    @Test(arguments: targets, [true, false]) func `every program of a family is sound, plain and fused`(target: ProgramTarget, fuse: Bool) throws {
        let repeated = PassPolicy.Repeated.allCases.flatMap { [PassPolicy(blocks: 1, repeated: $0), PassPolicy(cheap: false, blocks: 9, repeated: $0)] }
        for policy in [PassPolicy.nothing, .norms] + repeated {
            for dropout in [0, 0.1] {
                for modules in [["all-linear"], ["down_proj"], ["q_proj", "v_proj"]] {
                    let program = try Self.program(target, passes: policy, fuse: fuse, dropout: dropout, modules: modules)
                    #expect(program.violations().isEmpty, "\(program.violations())")
                }
            }
        }
        for purpose in [ProgramPurpose.evaluation, .decoding(slots: 3, positions: 32, outputRows: 2)] {
            let program = try Self.program(target, purpose: purpose, fuse: fuse)
            #expect(program.violations().isEmpty, "\(program.violations())")
        }
    }

    /// `program` with its ops changed, laid out anew.
    static func changed(_ program: Program, _ change: (inout [(op: any Op, origin: Int, role: OpRole)], inout ValueTable) -> Void) -> Program {
        var ops = program.ops.indices.map { (op: program.ops[$0], origin: program.origins[$0], role: program.roles[$0]) }
        var values = program.values
        change(&ops, &values)
        return Program(
            purpose: program.purpose, target: program.target, tokens: program.tokens, values: values, ops: ops.map(\.op), origins: ops.map(\.origin),
            roles: ops.map(\.role), firstBackwardOp: ops.firstIndex { $0.role != .forward } ?? ops.count, inputs: program.inputs,
            outputs: program.outputs, schedule: Schedule(values: values, ops: ops.map(\.op), alignment: program.target.alignment),
            incomplete: program.incomplete)
    }

    private func expect(_ program: Program, names word: String) {
        let violations = program.violations()
        #expect(violations.contains { $0.contains(word) }, "\(violations)")
        #expect(throws: (any Error).self) { try program.verify() }
    }

    @Test func `an op without the op that writes its operand is named`() throws {
        expect(
            Self.changed(try Self.program(.cpu(threads: 1))) { ops, _ in ops.removeAll { $0.op is Embedding } },
            names: "reads 'embedding' before anything has written it")
    }

    @Test(arguments: [ProgramTarget.cpu(threads: 1), .device(.bf16)]) func `a value that lacks the adapters' share is not read`(target: ProgramTarget) throws {
        let plain = try Self.program(target, fuse: false)
        expect(Self.changed(plain) { ops, _ in ops.removeAll { $0.op is LoRAUp } }, names: "lacks a term")
    }

    @Test func `two rotations do not add the adapters' share twice`() throws {
        let fused = try Self.program(.device(.bf16))
        let twice = Self.changed(fused) { ops, _ in
            if let index = ops.firstIndex(where: { ($0.op as? RoPE)?.update != nil }) { ops.insert(ops[index], at: index) }
        }
        expect(twice, names: "adds a term to 'q_proj|k_proj|v_proj' that it does not lack")
    }

    @Test func `an adjoint does not read a value that a later op has overwritten`() throws {
        let program = try Self.program(.cpu(threads: 1))
        let late = Self.changed(program) { ops, _ in
            // A second op in place between attention and its adjoint.
            guard let attention = ops.firstIndex(where: { $0.op is Attention }), let rope = ops.first(where: { $0.op is RoPE }) else { return }
            ops.insert((rope.op, attention + 1, .forward), at: attention + 1)
        }
        expect(late, names: "has overwritten")
    }

    @Test func `a value is not defined twice`() throws {
        let program = try Self.program(.cpu(threads: 1))
        let twice = Self.changed(program) { ops, _ in
            if let index = ops.firstIndex(where: { $0.op is GatedActivation }) { ops.insert(ops[index], at: index) }
        }
        expect(twice, names: "which another op has written")
    }

    @Test func `shapes and element types are held to each other`() throws {
        let program = try Self.program(.device(.f16))
        let narrow = Self.changed(program) { ops, values in
            guard let index = ops.firstIndex(where: { $0.op is RMSNorm }), let norm = ops[index].op as? RMSNorm else { return }
            let wrong = values.add("wrong", [7, 64], .f16, .transient)
            ops[index].op = norm.renamed { $0 == norm.inverseRMS ? wrong : $0 }
        }
        expect(narrow, names: "has shape [7, 64]")
        expect(narrow, names: "is f16, not f32")
    }
}
