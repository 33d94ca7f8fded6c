import Foundation
import LorikeetDevices
import LorikeetEngine
import StubCard
import Testing

@testable import Lorikeet

/// Sessions on a card that has no NVRTC: every kernel they ask for is in the archive of `KernelVariants`.
struct KernelArchiveRunTests {
    /// One of each kind of block: plain, norms of heads, caps and windows, biases, and head sizes with kernels of their own.
    private static let models: [(family: String, head: Int, targets: [String], rank: Int)] = [
        ("llama", 64, ["q_proj", "v_proj"], 8), ("llama", 16, ["all-linear"], 16), ("qwen3", 128, ["all-linear"], 8),
        ("qwen2", 64, ["q_proj", "down_proj"], 64), ("gemma2", 256, ["all-linear"], 16),
        ("gemma2", 64, ["gate_proj", "up_proj"], 24), ("phi3", 64, ["all-linear"], 5),
    ]

    private func model(_ family: String, head: Int) throws -> RandomModel {
        var numbers = [
            ("hidden_size", 64), ("intermediate_size", 64), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", head), ("vocab_size", 29),
        ]
        if family == "gemma2" {
            numbers += [("attn_logit_softcapping", 50), ("final_logit_softcapping", 30), ("query_pre_attn_scalar", head), ("sliding_window", 8)]
        }
        if family == "phi3" { numbers = numbers.map { $0.0 == "hidden_size" ? ($0.0, 2 * head) : $0 } }
        return try RandomModel(numbers, family: family)
    }

    @Test(arguments: KernelArchive.architectures) func `training, evaluation and answers launch nothing that has to be compiled`(architecture: Int) throws {
        let stub = try StubCard(["capability \(architecture)"])
        var options = stub.options
        options.kernelFolders = [stub.folder + "/kernels"]
        _ = try KernelArchiveWriter(options).write(
            KernelVariants.modules(architecture: architecture), architecture: architecture, to: stub.folder + "/kernels", threads: 2)
        try FileManager.default.removeItem(atPath: stub.folder + "/libnvrtc.so.12")
        let compiled = stub.calls("nvrtcCompileProgram").count
        let batch = TokenBatch(sequence: (0..<12).map { Int32($0) }, weight: 0.1)
        for entry in Self.models {
            let files = try model(entry.family, head: entry.head)
            for element in architecture < 80 ? [DeviceElement.f16, .f32] : [.bf16, .f16, .f32] {
                for (storage, dropout) in [(BaseStorage.nf4, 0.0), (.f16, 0.1), (.bf16, 0.0)] {
                    let compute = Compute(cpu: CPU(threads: 1), device: try CUDADevice(options), element: element)
                    let lora = LoRASettings(r: entry.rank, alpha: 8, dropout: dropout, targetModules: entry.targets)
                    let session = try Session(model: compute.model(files.source, storage: storage, lora: lora), maximumTokens: 32)
                    for _ in 1...2 {
                        _ = try session.accumulate(batch, zeroFirst: true)
                        _ = try session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
                    }
                    _ = try session.generate(prompts: [[1, 2]], maxNewTokens: 2, endTokens: [])
                }
            }
        }
        #expect(stub.calls("nvrtcCompileProgram").count == compiled && stub.calls("cuLaunchKernel").count > 1000)
    }
}
