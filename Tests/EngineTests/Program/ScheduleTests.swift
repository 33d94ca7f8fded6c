import Testing

@testable import LorikeetEngine

struct ScheduleTests {
    private func program(_ targets: [String], layers: Int = 3) throws -> Program {
        let family = try TinyModel.configuration(layers: layers).family
        let layout = try TrainedLayout(LoRASettings(r: 3, targetModules: targets), weights: family.weights())
        return family.program(.training, tokens: 32, adapters: layout, target: .cpu(threads: 2))
    }

    @Test func `no two values that live at once share a byte`() throws {
        let program = try program(["all-linear"])
        let placed = program.values.ids.compactMap { id -> (Range<Int>, ClosedRange<Int>)? in
            guard let offset = program.schedule.offsets[id.index], let life = program.schedule.lifetimes[id.index] else { return nil }
            return (offset..<offset + program.values[id].byteCount, life)
        }
        #expect(placed.count > 50)
        for (i, a) in placed.enumerated() {
            #expect(a.0.upperBound <= program.arenaBytes)
            for b in placed[..<i] where a.1.overlaps(b.1) { #expect(!a.0.overlaps(b.0)) }
        }
    }

    @Test func `every value an op reads was written before, given, or is frozen`() throws {
        let program = try program(["q_proj"])
        var written = Set<ValueID>()
        for op in program.ops {
            for id in op.reads where program.values[id].kind == .transient {
                #expect(written.contains(id) || op.writes.contains(id), "\(op.kind) reads \(program.values[id].name) too early")
            }
            written.formUnion(op.writes)
        }
    }

    @Test func `the backward pass stops below the lowest adapter`() throws {
        let family = try TinyModel.configuration(layers: 3).family
        let weights = family.weights()
        let top = try TrainedLayout(LoRASettings(r: 3, targetModules: ["model.layers.2.self_attn.o_proj"]), weights: weights)
        let program = family.program(.training, tokens: 32, adapters: top, target: .cpu(threads: 2))
        let backward = program.ops[program.firstBackwardOp...]
        #expect(backward.contains { $0 is LoRAUpBackward } && backward.contains { $0 is LinearBackward })
        // Neither attention nor anything of the layers below is differentiated.
        #expect(!backward.contains { $0 is AttentionBackward })
        #expect(!backward.contains { $0.detail.contains("layers.1") || $0.detail.contains("layers.0") })
    }

    @Test func `a target that does not exist is refused with the nearest name`() throws {
        let family = try TinyModel.configuration().family
        let weights = family.weights()
        let error = #expect(throws: (any Error).self) { try TrainedLayout(LoRASettings(targetModules: ["q_porj"]), weights: weights) }
        #expect(String(describing: error).contains("did you mean 'q_proj'"))
    }

    @Test func `every block that runs again makes the arena smaller, and adds no op that nobody reads`() throws {
        let family = try TinyModel.configuration(layers: 6).family
        let layout = try TrainedLayout(LoRASettings(r: 3, targetModules: ["q_proj", "v_proj"]), weights: family.weights())
        let programs = (0...6).map {
            family.program(.training, tokens: 64, adapters: layout, target: .cpu(threads: 2), passes: PassPolicy(blocks: $0))
        }
        for (fewer, more) in zip(programs, programs.dropFirst()) {
            #expect(more.arenaBytes < fewer.arenaBytes || more.arenaBytes == programs[6].arenaBytes)
            #expect(more.work().matrixFlops > fewer.work().matrixFlops)
        }
        #expect(programs[6].arenaBytes < programs[0].arenaBytes * 3 / 5)
        // The last product of a block is what the next block's stream already holds.
        let again = programs[6].ops[programs[6].firstBackwardOp...]
        #expect(!again.contains { $0.kind == "linear" && $0.detail.contains("down_proj") })
        #expect(again.filter { $0.kind == "attention" }.count == 6)
        #expect(PassPolicy(rawValue: "norms+12") == PassPolicy(blocks: 12))
        #expect(PassPolicy(rawValue: "norms+x") == nil)
    }

    @Test(arguments: [["q_proj", "v_proj"], ["all-linear"]])
    func `of a recomputed block attention, or all but the gates, can be kept`(modules: [String]) throws {
        let family = try TinyModel.configuration(layers: 6, intermediate: 96).family
        let layout = try TrainedLayout(LoRASettings(r: 3, dropout: 0.1, targetModules: modules), weights: family.weights())
        func program(_ blocks: Int, _ repeated: PassPolicy.Repeated) -> Program {
            family.program(
                .training, tokens: 64, adapters: layout, target: .cpu(threads: 2), passes: PassPolicy(blocks: blocks, repeated: repeated))
        }
        func again(_ program: Program) -> [any Op] { program.ops.indices.filter { program.roles[$0] == .repeated }.map { program.ops[$0] } }
        let (kept, everything) = (program(0, .everything), program(6, .everything))
        let (attention, gates) = (program(6, .allButAttention), program(6, .gates))
        #expect(again(everything).filter { $0 is Attention }.count == 6)
        #expect(!again(attention).contains { $0 is Attention } && again(attention).contains { $0 is RoPE })
        // Nothing of attention and no product but gate and up runs again; norms' outputs do, once each.
        let linears = again(gates).filter { $0.kind == "linear" }
        #expect(linears.count == 6 && linears.allSatisfy { $0.detail.contains("gate_proj") && $0.detail.contains("up_proj") })
        // The activation is needed by an adapter of the down product alone.
        let activations = again(gates).count { $0 is GatedActivation }
        #expect(!again(gates).contains { $0 is Attention || $0 is RoPE } && activations == (modules == ["all-linear"] ? 6 : 0))
        #expect(again(gates).filter { $0.kind == "rmsnorm" || $0.kind == "rmsnorm.again" }.count == 12)
        // Each way frees memory, and what is computed again is its price.
        #expect(everything.arenaBytes < attention.arenaBytes && attention.arenaBytes < gates.arenaBytes && gates.arenaBytes < kept.arenaBytes)
        #expect(kept.work().matrixFlops < gates.work().matrixFlops && gates.work().matrixFlops < attention.work().matrixFlops)
        #expect(attention.work().matrixFlops <= everything.work().matrixFlops)
    }

    @Test func `recomputing norms needs a smaller arena`() throws {
        let family = try TinyModel.configuration(layers: 6).family
        let layout = try TrainedLayout(LoRASettings(r: 3, targetModules: ["q_proj", "v_proj"]), weights: family.weights())
        let kept = family.program(.training, tokens: 64, adapters: layout, target: .cpu(threads: 2), passes: .nothing)
        let again = family.program(.training, tokens: 64, adapters: layout, target: .cpu(threads: 2), passes: .norms)
        #expect(again.arenaBytes < kept.arenaBytes)
    }
}
