import LorikeetDevices
import LorikeetGround
import LorikeetJSON

/// `Program.verify` for the programs of every family: training, evaluation, decoding and the optimiser's step, fused and plain, with and
/// without recomputed blocks and dropout. No weights are read and nothing is computed.
package struct ProgramChecks: Sendable {
    /// Programs that are sound.
    package private(set) var passed = 0
    /// Each violation with its program's name: `qwen3, training, device bf16, fused: op 12 (rope): …`.
    package private(set) var violations: [String] = []
    /// `model_type` of each family that was looked at.
    package private(set) var families: [String] = []

    package init() {}

    /// The programs of every family in the table, and of every optimiser's step.
    ///
    /// - Parameter targets: what the programs are made for.
    /// - Throws: exit 2 where a family does not read the small configuration that it is given here.
    package static func run(for targets: [ProgramTarget]) throws -> ProgramChecks {
        var checks = ProgramChecks()
        for kind in Families.table {
            checks.families.append(kind.huggingFace.modelType)
            let family = try smallModel(kind)
            for target in targets {
                for fuse in [true, false] { try checks.add(family, kind.huggingFace.modelType, target, fuse: fuse) }
            }
        }
        for optimiser in Optimisers.table {
            for target in targets {
                let step = StepProgram.build(count: 5000, optimiser: optimiser, target: target)
                checks.add(step, "\(optimiser.name), \(target.label)")
            }
        }
        return checks
    }

    /// Verifies one program.
    ///
    /// - Parameter name: what it is a program of.
    package mutating func add(_ program: Program, _ name: String) {
        let found = program.violations()
        if found.isEmpty { passed += 1 }
        violations += found.map { "\(name), \(program.purpose.label): \($0)" }
    }

    private mutating func add(_ family: any ModelFamily, _ name: String, _ target: ProgramTarget, fuse: Bool) throws {
        let weights = family.weights()
        let name = "\(name), \(target.label), \(fuse ? "fused" : "plain")"
        let names = family.linears().map(\.shortName)
        for modules in [["all-linear"], names.contains("q_proj") ? ["q_proj", "v_proj"] : Array(names.prefix(1))] {
            for dropout in [0, 0.1] {
                let trained = try TrainedLayout(LoRASettings(r: 8, dropout: dropout, targetModules: modules), weights: weights)
                for policy in [PassPolicy.nothing, .norms] + PassPolicy.Repeated.allCases.map({ PassPolicy(blocks: 1, repeated: $0) }) {
                    var policy = policy
                    policy.fuse = fuse
                    add(family.program(.training, tokens: 128, adapters: trained, target: target, passes: policy), name)
                }
                for purpose in [ProgramPurpose.evaluation, .decoding(slots: 3, positions: 64, outputRows: 2)] where dropout == 0 {
                    var policy = PassPolicy.norms
                    policy.fuse = fuse
                    add(family.program(purpose, tokens: 32, adapters: trained, target: target, passes: policy), name)
                }
            }
        }
    }

    /// Two layers with heads of 64 and widths in 64s: every row of the fusion table applies. Where a family has layers without rotation, the
    /// second is one.
    private static func smallModel(_ kind: any ModelFamily.Type) throws -> any ModelFamily {
        let sizes: [(String, Int)] = [
            ("hidden_size", 128), ("intermediate_size", 128), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 64), ("vocab_size", 97), ("max_position_embeddings", 512), ("no_rope_layer_interval", 2),
        ]
        var reader = ConfigurationReader(.object(JSONObject(sizes.map { (key: $0.0, value: JSON($0.1)) })), source: kind.huggingFace.modelType)
        return try kind.init(&reader)
    }

    /// `252 verified (llama, gemma2, qwen3; training, evaluation, decoding, step)`.
    package var summary: String {
        let what = "\(families.joined(separator: ", ")); training, evaluation, decoding, step"
        return "\(passed) verified (\(what))" + (violations.isEmpty ? "" : ", \(violations.count) violations")
    }

    /// Exit 1 naming the first violation's op and value; nil where every program is sound.
    package var error: LorikeetError? {
        if let first = violations.first {
            return LorikeetError(
                .checkFailed, "a program is not sound: \(first)", at: "programs", fix: "report this with the output of lorikeet doctor")
        }
        return passed > 0 ? nil : LorikeetError(.checkFailed, "no program was verified", at: "programs")
    }
}

extension ProgramTarget {
    /// `processor`, or `card in bf16`.
    var label: String { isDevice ? "card in \(element.rawValue)" : "processor" }
}
