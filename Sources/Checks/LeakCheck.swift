import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// Opens a device again and again in one process, each time with a small model that is trained and decoded on it, and looks whether the
/// card's memory and this process's come back.
///
/// One more device stays open meanwhile: it reads what the card has in use, and its share of the card's context keeps the context alive.
/// Without it the driver would end the context with each device, and free what had been forgotten.
package struct LeakCheck {
    /// Memory in use after so many rounds.
    package struct Reading: Sendable {
        package let round: Int
        /// Of the card, by anyone.
        package let deviceBytes: Int
        /// Of this process, pinned memory included.
        package let residentBytes: Int

        package var json: JSON { ["round": JSON(round), "device_bytes": JSON(deviceBytes), "resident_bytes": JSON(residentBytes)] }
    }

    /// What may be added after the first tenth of the rounds: a workspace (32 MiB) or pinned memory (16 MiB) forgotten once a round is 180
    /// and more times that in 200 rounds; allocators' own unevenness is a few MiB.
    package static let deviceLimit = 8 << 20
    package static let residentLimit = 64 << 20

    private let rounds: Int
    private let open: () throws -> Compute

    /// - Parameters:
    ///   - rounds: at least 10.
    ///   - open: opens the device that is asked about; called once a round and once more.
    package init(rounds: Int, open: @escaping () throws -> Compute) { (self.rounds, self.open) = (rounds, open) }

    /// - Parameter report: told after each tenth of the rounds.
    /// - Returns: a reading after each tenth of the rounds.
    /// - Throws: exit 2 where `open` gives no device; what opening and running throw.
    package func run(_ report: (Reading) -> Void) throws -> [Reading] {
        guard let observer = try open().device else {
            throw LorikeetError.input("leaks are looked for on a card, and there is none", at: "--leaks", fix: "give --device cuda:0 on a machine with a card")
        }
        var readings: [Reading] = []
        for round in 1...rounds {
            try once()
            guard round * 10 / rounds > (round - 1) * 10 / rounds else { continue }
            try observer.synchronize()
            readings.append(Reading(round: round, deviceBytes: try observer.usedBytes(), residentBytes: Int(Machine.residentBytes())))
            readings.last.map(report)
        }
        return readings
    }

    /// How much more is in use after the last round than after the first tenth.
    package static func growth(_ readings: [Reading]) -> (deviceBytes: Int, residentBytes: Int) {
        guard let first = readings.first, let last = readings.last else { return (0, 0) }
        return (last.deviceBytes - first.deviceBytes, last.residentBytes - first.residentBytes)
    }

    /// Whether the readings show that something was not given back.
    package static func leaks(_ readings: [Reading]) -> Bool {
        let growth = growth(readings)
        return growth.deviceBytes > deviceLimit || growth.residentBytes > residentLimit
    }

    /// Opens, asks what planning asks, trains three steps (the third replays what the second recorded), decodes, and lets go of it all.
    private func once() throws {
        let compute = try open()
        guard let device = compute.device else { throw LorikeetError.machine("the card is gone") }
        _ = try device.usedBytes()
        let model = try compute.randomModel(Self.configuration(), storage: .nf4, lora: LoRASettings(r: 8, targetModules: ["q_proj", "v_proj"]))
        let session = try Session(model: model, maximumTokens: 128)
        let batch = TokenBatch(sequence: (0..<128).map { Int32($0) }, weight: 0.01)
        for _ in 1...3 {
            _ = try session.accumulate(batch, zeroFirst: true)
            _ = try session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
        }
        _ = try session.generate(prompts: [[1, 2, 3]], maxNewTokens: 4, endTokens: [])
    }

    /// Two blocks of a Llama; on the card some megabytes.
    private static func configuration() throws -> ModelConfiguration {
        try ModelConfiguration(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000,
                "max_position_embeddings": 256, "tie_word_embeddings": true, "hidden_act": "silu",
            ], source: "leak check")
    }
}
