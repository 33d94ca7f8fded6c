import Foundation
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

struct ListingTests {
    @Test func `the listing of SmolLM2's training program is the committed one`() throws {
        let configuration = try ModelConfiguration(
            json: [
                "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "rope_theta": 10000,
            ], source: "test")
        let family = configuration.family
        let layout = try TrainedLayout(LoRASettings(r: 8, targetModules: ["q_proj", "v_proj"]), weights: family.weights())
        let listing = family.program(.training, tokens: 512, adapters: layout, target: .cpu(threads: 2)).listing()
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
            path: "Fixtures/smollm2-training-listing.txt")
        if ProcessInfo.processInfo.environment["LORIKEET_REGENERATE"] != nil { try listing.write(to: path, atomically: true, encoding: .utf8) }
        #expect(try String(contentsOf: path, encoding: .utf8) == listing)
    }
}
