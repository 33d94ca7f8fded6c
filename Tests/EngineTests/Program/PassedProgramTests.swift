import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// What the passes made of one program serves for other sizes: a plan that tries many sizes runs them once.
struct PassedProgramTests {
    /// Four layers, so that inputs of recomputed blocks are parked.
    private static func smallModel(_ kind: any ModelFamily.Type) throws -> any ModelFamily {
        let sizes: [(String, Int)] = [
            ("hidden_size", 128), ("intermediate_size", 128), ("num_hidden_layers", 4), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 64), ("vocab_size", 97), ("max_position_embeddings", 512), ("no_rope_layer_interval", 2),
        ]
        var reader = ConfigurationReader(.object(JSONObject(sizes.map { (key: $0.0, value: JSON($0.1)) })), source: kind.huggingFace.modelType)
        return try kind.init(&reader)
    }

    private static let policies =
        [PassPolicy.nothing, .norms]
        + PassPolicy.Repeated.allCases.flatMap { repeated in
            [1, 3, 4].flatMap { blocks in [false, true].map { PassPolicy(blocks: blocks, repeated: repeated, parks: $0) } }
        }

    @Test(arguments: [ProgramTarget.cpu(threads: 2), .device(.f16), .device(.bf16)])
    func `programs of other sizes take what the same program takes that is made for them`(target: ProgramTarget) throws {
        for kind in Families.table {
            let family = try Self.smallModel(kind)
            let layout = try TrainedLayout(LoRASettings(r: 8, dropout: 0.1, targetModules: ["all-linear"]), weights: family.weights())
            func program(_ purpose: ProgramPurpose, _ size: (rows: Int, headChunk: Int)) -> DifferentiatedProgram {
                family.differentiated(purpose, tokens: size.rows, adapters: layout, target: target, headChunk: size.headChunk)
            }
            for fuse in [true, false] {
                for purpose in [ProgramPurpose.training, .evaluation] {
                    for policy in purpose == .training ? Self.policies : [.norms] {
                        var policy = policy
                        policy.fuse = fuse
                        let passed = program(purpose, (256, 64)).passed(policy)
                        for size in [(rows: 256, headChunk: 256), (rows: 32, headChunk: 32), (rows: 1152, headChunk: 128)] {
                            let other = program(purpose, size)
                            let (footprint, whole) = (try #require(passed.footprint(of: other)), other.program(policy))
                            let place = "\(kind.huggingFace.modelType), \(policy.rawValue), \(size)"
                            #expect(footprint.arenaBytes() == whole.arenaBytes && footprint.parkedBytes == whole.parkedBytes, "\(place)")
                            let least = footprint.leastArenaBytes()
                            #expect(least == Self.mostLiveBytes(whole) && least <= whole.arenaBytes, "\(place)")
                            let load = Workload(segments: SegmentLengths([7, 200]), trainedShare: 0.3)
                            #expect(Array(footprint.work(load)) == whole.work(load), "\(place)")
                        }
                    }
                }
            }
        }
    }

    /// Bytes of the values that live at the same op, of the op with the most, counted for each op by itself.
    private static func mostLiveBytes(_ program: Program) -> Int {
        let alive = zip(program.schedule.lifetimes, program.values.values).compactMap { life, value in
            life.map { (life: $0, bytes: value.byteCount.roundedUp(toMultipleOf: program.target.alignment)) }
        }
        return program.ops.indices.map { op in alive.reduce(0) { $0 + ($1.life.contains(op) ? $1.bytes : 0) } }.max() ?? 0
    }

    @Test func `what another program's passes made is not taken`() throws {
        let family = try Self.smallModel(Llama.self)
        func program(_ modules: [String], _ target: ProgramTarget = .device(.f16)) throws -> DifferentiatedProgram {
            let layout = try TrainedLayout(LoRASettings(r: 8, targetModules: modules), weights: family.weights())
            return family.differentiated(.training, tokens: 128, adapters: layout, target: target, headChunk: 64)
        }
        let passed = try program(["q_proj"]).passed(.norms)
        #expect(passed.footprint(of: try program(["q_proj"])) != nil)
        #expect(passed.footprint(of: try program(["v_proj", "q_proj"])) == nil)
        #expect(passed.footprint(of: try program(["q_proj"], .device(.bf16))) == nil)
    }
}
