import EmulatedDevice
import LorikeetDevices
import LorikeetEngine
import LorikeetJSON
import Testing

@testable import LorikeetChecks

struct DecodeBenchTests {
    private static func configuration(tied: Bool) throws -> ModelConfiguration {
        try ModelConfiguration(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 101, "rms_norm_eps": 1e-5, "rope_theta": 10000,
                "max_position_embeddings": 256, "tie_word_embeddings": .bool(tied), "hidden_act": "silu",
            ], source: "test")
    }

    /// Elements of all linears, of the head, and of the norms.
    private static let linears = 2 * (64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 64 * 96)
    private static let head = 101 * 64
    private static let norms = 5 * 64

    @Test(arguments: [true, false]) func `a step reads each weight once, and no embedding table that is no head`(tied: Bool) throws {
        func bytes(_ storage: BaseStorage, _ target: ProgramTarget) throws -> DecodeBench.StepBytes {
            try DecodeBench.stepBytes(Self.configuration(tied: tied), storage, target) { _ in .f32 }
        }
        let plain = try bytes(.f32, .cpu(threads: 1))
        #expect(plain == DecodeBench.StepBytes(weights: 4 * (Self.linears + Self.head + Self.norms), cachedPosition: 2 * 2 * 32 * 4))
        #expect(plain.total(sequences: 3, positions: 10) == Double(plain.weights + 30 * plain.cachedPosition))
        // 4-bit codes, and constants of blocks of 64: a byte each and a little more.
        let codes = try bytes(.nf4, .cpu(threads: 1)).weights - 4 * (Self.head + Self.norms)
        #expect(codes >= Self.linears / 2 + Self.linears / 64 && codes < Self.linears / 2 + Self.linears / 32)
        let card = try bytes(.nf4, .device(.f16))
        #expect(card.cachedPosition == plain.cachedPosition / 2 && card.weights < codes + 2 * Self.head + 4 * Self.norms + 20_000)
    }

    @Test func `speed, limit and their share belong together, on the processor and on a card`() throws {
        for device in [nil, EmulatedDevice()] {
            var bench = DecodeBench(
                configuration: try Self.configuration(tied: true), source: nil, storage: .nf4, compute: Compute(cpu: CPU(threads: 2), device: device))
            (bench.sequences, bench.prompt, bench.new, bench.rounds) = (3, 5, 6, 1)
            let (result, profile) = { ($0.json, $0.profile) }(try bench.run(profiled: true))
            func number(_ key: String) -> Double { result[key]?.double ?? .nan }
            #expect(number("tokens_per_second") > 0 && number("prompt_tokens_per_second") > 0 && number("bandwidth_bytes_per_second") > 0)
            // Reading memory is measured and not optimised away: no machine reads 10 TB/s.
            #expect(number("step_processor_seconds") > 0 && number("bandwidth_bytes_per_second") < 1e13)
            #expect(abs(number("tokens_per_second") * number("step_seconds") - 3) < 1e-9)
            #expect(abs(number("limit_tokens_per_second") / (3 * number("bandwidth_bytes_per_second") / number("bytes_per_step")) - 1) < 1e-9)
            #expect(abs(number("share_of_limit") * number("limit_tokens_per_second") / number("tokens_per_second") - 1) < 1e-9)
            // The third to the sixth new token are chosen from 7 to 10 positions.
            #expect(number("bytes_per_step") == number("weight_bytes") + 3 * 8.5 * number("cached_position_bytes"))
            // The emulated card measures no time.
            #expect(result["device"]?.string == (device == nil ? "cpu" : device?.properties.name))
            #expect((result["predicted_step_seconds"]?.double ?? 0 > 0) == (device != nil))
            // An op is known by its times, and the emulated card measures none.
            #expect(profile.contains { $0.kind == "largest_logit" && $0.count == 1 } == (device == nil))
            #expect(result["bandwidth_method"]?.string?.contains(device == nil ? "threads" : "table") == true)
        }
    }
}
