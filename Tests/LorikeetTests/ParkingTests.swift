import EmulatedDevice
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// What lies in the host's memory instead of a card's changes no bit, and leaves its place on the card.
struct ParkingTests {
    private static let layers = 5

    /// A model whose embedding and head are two tables; heads of 64 and ranks of eight, so that every fusion applies.
    private static func configuration(tied: Bool = false) throws -> ModelConfiguration {
        try ModelConfiguration(
            json: .object([
                "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
                "num_hidden_layers": JSON(layers), "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 97,
                "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 128, "tie_word_embeddings": .bool(tied), "hidden_act": "silu",
            ]), source: "test")
    }

    private static let lora = LoRASettings(r: 8, alpha: 16, targetModules: ["all-linear"])

    private static func program(_ policy: PassPolicy, _ element: DeviceElement = .bf16) throws -> Program {
        let family = try configuration().family
        return family.program(
            .training, tokens: 64, adapters: try TrainedLayout(lora, weights: family.weights()), target: .device(element), passes: policy)
    }

    private struct Result: Equatable {
        let losses: [[Float]]
        let gradients: [Float]
        let values: [Float]
    }

    /// Two steps of two micro-batches each on an emulated card.
    private static func train(_ policy: PassPolicy, _ element: DeviceElement, _ device: EmulatedDevice, embeddingOnHost: Bool) throws -> Result {
        var compute = Compute(cpu: CPU(threads: 2), device: device, element: element)
        compute.embeddingOnHost = embeddingOnHost
        let model = try compute.randomModel(configuration(), storage: .nf4, lora: lora, seed: 3)
        let values = model.adapters.floats(.values)
        for i in values.indices { values[i] += 0.05 * Float(Int(mix64(UInt64(i)) % 2001) - 1000) / 1000 }
        let session = try Session(model: model, sizes: SessionSizes(training: 64, evaluation: 64), passes: policy)
        if element == .f16 { try session.setLossScaling(LossScaling(scale: 1024, goodSteps: 0)) }
        var losses: [[Float]] = []
        for step in 0..<2 {
            for part in 0..<2 {
                var batch = TokenBatch()
                for length in [19, 9, 24] {
                    batch.append((batch.rows..<batch.rows + length).map { Int32(mix64(UInt64($0 + 100 * (2 * step + part))) % 97) }, weight: 1 / 98)
                }
                losses.append(try session.accumulate(batch, zeroFirst: part == 0).logProbabilities)
            }
            _ = try session.optimiserStep(learningRate: 1e-2, optimiser: AdamWSettings())
        }
        try session.pullAdapters()
        return Result(losses: losses, gradients: Array(model.adapters.floats(.gradients)), values: Array(model.adapters.floats(.values)))
    }

    @Test(arguments: PassPolicy.Repeated.allCases)
    func `what else recomputed blocks keep is parked too`(repeated: PassPolicy.Repeated) throws {
        let policy = PassPolicy(blocks: Self.layers, repeated: repeated, parks: true)
        let program = try Self.program(policy)
        try program.verify()
        let inputs = (Self.layers - 2) * 64 * 64 * 2
        #expect(repeated == .everything ? program.parkedBytes == inputs : program.parkedBytes > inputs)
        let expected = try Self.train(.norms, .bf16, EmulatedDevice(), embeddingOnHost: false)
        for atOnce in [true, false] {
            let device = EmulatedDevice()
            device.copiesAtOnce = atOnce
            #expect(try Self.train(policy, .bf16, device, embeddingOnHost: true) == expected)
            #expect(device.hostBytes == 0 && device.allocatedBytes == 0)
        }
        #expect(try Self.train(PassPolicy(blocks: 3, repeated: repeated), .bf16, EmulatedDevice(), embeddingOnHost: false) == expected)
    }

    @Test(arguments: DeviceElement.allCases, [true, false])
    func `training gives the same bits, whenever the copies happen`(element: DeviceElement, fuse: Bool) throws {
        let architecture = element == .f16 ? 75 : 80
        var (plain, parked) = (PassPolicy(blocks: Self.layers), PassPolicy(blocks: Self.layers, parks: true))
        (plain.fuse, parked.fuse) = (fuse, fuse)
        let kept = EmulatedDevice(architecture: architecture)
        let expected = try Self.train(plain, element, kept, embeddingOnHost: false)
        #expect(kept.begunCopies == 0 && expected.losses.joined().allSatisfy { $0.isFinite } && expected.gradients.contains { $0 != 0 })
        for atOnce in [true, false] {
            let device = EmulatedDevice(architecture: architecture)
            device.copiesAtOnce = atOnce
            let result = try Self.train(parked, element, device, embeddingOnHost: true)
            #expect(result == expected)
            // Four micro-batches; each block but the last two has its input copied there and back.
            #expect(device.begunCopies == 4 * 2 * (Self.layers - 2))
            // All goes back with the session and the model.
            #expect(device.hostBytes == 0 && device.allocatedBytes == 0)
        }
    }

    @Test func `a parked value's place on the card is free in between`() throws {
        let (kept, parked) = (try Self.program(PassPolicy(blocks: Self.layers)), try Self.program(PassPolicy(blocks: Self.layers, parks: true)))
        let input = 64 * 64 * 2
        #expect(kept.parkedBytes == 0 && parked.parkedBytes == (Self.layers - 2) * input)
        // In the backward pass two inputs are there at a time.
        #expect(parked.arenaBytes <= kept.arenaBytes - (Self.layers - 3) * input)
        try parked.verify()
        #expect(parked.work().matrixFlops == kept.work().matrixFlops)
        let listing = parked.listing()
        #expect(listing.contains("park ") && listing.contains("fetch.end") && listing.contains("in the host's memory @0"))
        // Only recomputed blocks have inputs to park, and the last two are needed at once.
        for blocks in [0, 1, 3] {
            let program = try Self.program(PassPolicy(blocks: blocks, parks: true))
            try program.verify()
            #expect(program.ops.count { $0 is Park } == blocks && program.ops.count { $0 is FetchEnd } == blocks)
        }
    }

    @Test func `copies that would be too late or too early are found`() throws {
        let program = try Self.program(PassPolicy(blocks: Self.layers, parks: true))
        func violations(_ change: (inout [(op: any Op, origin: Int, role: OpRole)]) throws -> Void) throws -> [String] {
            var ops = program.ops.indices.map { (op: program.ops[$0], origin: program.origins[$0], role: program.roles[$0]) }
            try change(&ops)
            return Program(
                purpose: program.purpose, target: program.target, tokens: program.tokens, values: program.values, ops: ops.map(\.op),
                origins: ops.map(\.origin), roles: ops.map(\.role), firstBackwardOp: ops.firstIndex { $0.role != .forward } ?? ops.count,
                inputs: program.inputs, outputs: program.outputs,
                schedule: Schedule(values: program.values, ops: ops.map(\.op), alignment: program.target.alignment), incomplete: program.incomplete
            ).violations()
        }
        #expect(try violations { _ in }.isEmpty)
        let unfetched = try violations { ops in ops.removeAll { $0.op is FetchEnd } }
        #expect(unfetched.contains { $0.contains("is still being copied") })
        let unparked = try violations { ops in ops.removeAll { $0.op is ParkEnd } }
        #expect(unparked.contains { $0.contains("is still being copied") })
        let missing = try violations { ops in ops.removeAll { $0.op is Park } }
        #expect(missing.contains { $0.contains("before anything has written it") })
        let overwritten = try violations { ops in
            let at = try #require(ops.firstIndex { $0.op is Park })
            let park = try #require(ops[at].op as? Park)
            ops.insert((op: Add(a: park.x, b: park.x, out: park.x), origin: ops[at].origin, role: .forward), at: at + 1)
        }
        #expect(overwritten.contains { $0.contains("while it is being copied") })
    }

    @Test func `an embedding that the head shares stays on the card`() throws {
        #expect(try Self.configuration().family.embeddingOnly?.tensor == "model.embed_tokens.weight")
        #expect(try Self.configuration(tied: true).family.embeddingOnly == nil)
        for tied in [true, false] {
            let device = EmulatedDevice()
            var compute = Compute(cpu: CPU(threads: 1), device: device, element: .bf16)
            compute.embeddingOnHost = true
            let model = try compute.randomModel(Self.configuration(tied: tied), storage: .nf4, lora: nil)
            #expect(device.hostBytes == (tied ? 0 : (97 * 64 * 2).roundedUp(toMultipleOf: 256)))
            withExtendedLifetime(model) {}
        }
    }

    @Test func `a policy is read as it was written`() {
        for parks in [true, false] {
            for fuse in [true, false] {
                for (blocks, repeated) in [(0, PassPolicy.Repeated.everything)] + PassPolicy.Repeated.allCases.map({ (12, $0) }) {
                    var policy = PassPolicy(blocks: blocks, repeated: repeated, parks: parks)
                    policy.fuse = fuse
                    #expect(PassPolicy(rawValue: policy.rawValue) == policy)
                }
            }
        }
        #expect(PassPolicy(blocks: 12, parks: true).rawValue == "norms+12,parked")
        #expect(PassPolicy(blocks: 3, repeated: .gates, parks: true).rawValue == "norms+3,gates-only,parked")
        let wrong = [
            "norms,", "parked", "norms,plain,parked", "norms+12,park", ",parked", "", "norms+3,parked,gates-only", "norms+3,gates-only,attention-kept",
        ]
        for text in wrong { #expect(PassPolicy(rawValue: text) == nil, "\(text)") }
    }

    @Test func `memory that the host refuses is an error that leaves nothing behind`() throws {
        let device = FailingDevice()
        func run() throws {
            var compute = Compute(cpu: CPU(threads: 1), device: device, element: .bf16)
            compute.embeddingOnHost = true
            let model = try compute.randomModel(Self.configuration(), storage: .nf4, lora: Self.lora)
            _ = try Session(model: model, sizes: SessionSizes(training: 64, evaluation: 64), passes: PassPolicy(blocks: Self.layers, parks: true))
        }
        device.begin()
        try run()
        let count = device.counts[.allocation] ?? 0
        #expect(count >= 5 && device.live.isEmpty)
        for number in 1...count {
            device.begin(failing: (.allocation, number))
            #expect(throws: LorikeetError.self) { try run() }
            #expect(device.live.isEmpty && device.wrongFrees == 0)
        }
    }
}
