import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import StubCard
import Testing

@testable import Lorikeet

/// Plans and sessions on a card, again and again in one process: every one gives back what it took.
struct StubLoopTests {
    @Test func `two hundred plans leave nothing behind`() throws {
        var run = try TinyRun()
        run.options = ["device": "cuda:0", "compute-type": "float16"]
        let stub = try StubCard()
        let recipe = try run.recipe()
        var preparation = try Preparation(recipe: recipe, files: RealFiles())
        let dataset = try preparation.loadData(files: RealFiles(), cpu: CPU(threads: 1))
        for _ in 0..<200 {
            let compute = try DeviceRequest(recipe).open(stub.options)
            #expect(try preparation.plan(dataset, merges: true, compute: compute).choices.device == "Tesla T4")
        }
        let (live, faults) = stub.books()
        #expect(live.isEmpty && faults.isEmpty, "\(live) \(faults.prefix(5))")
        #expect(stub.made("pinned memory") == 200)
    }

    @Test func `two hundred models and sessions leave nothing behind`() throws {
        let files = try RandomModel([
            ("hidden_size", 32), ("intermediate_size", 24), ("num_hidden_layers", 1), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 16), ("vocab_size", 29),
        ])
        let stub = try StubCard()
        let batch = TokenBatch(sequence: (0..<12).map { Int32($0) }, weight: 0.1)
        for _ in 0..<200 {
            let compute = Compute(cpu: CPU(threads: 1), device: try CUDADevice(stub.options), element: .f16)
            let model = try compute.model(files.source, storage: .nf4, lora: LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj"]))
            let session = try Session(model: model, maximumTokens: 32)
            // The third runs the graph that the second recorded.
            for _ in 1...3 {
                _ = try session.accumulate(batch, zeroFirst: true)
                _ = try session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
            }
            _ = try session.generate(prompts: [[1, 2]], maxNewTokens: 2, endTokens: [])
        }
        let (live, faults) = stub.books()
        #expect(live.isEmpty && faults.isEmpty, "\(live) \(faults.prefix(5))")
        #expect(stub.made("context") == 200 && stub.made("executable graph") >= 200)
    }
}
