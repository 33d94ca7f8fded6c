import LorikeetGround
import EmulatedDevice
import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import Testing

/// The adapters' kernels (lora.cu under dropout, lora_up.cu, lora_back.cu, activation.cu) inside a training step, against the same step
/// on the processor: the same masks.
struct EmulatedLoRATests {
    struct Case: Sendable, CustomStringConvertible {
        var element: DeviceElement
        var rank: Int
        var dropout: Double
        var targets: [String]
        var head = 32
        var kernels: [String]
        var exceptions: [String: LoRASettings.Exception] = [:]
        var description: String { "\(element), rank \(rank), dropout \(dropout), heads of \(head), \(targets.joined(separator: " "))" }
    }

    private static let dropping = ["lora_down", "lora_add", "lora_grad", "lora_grad_sum"]
    /// With more than two groups of sixteen ranks.
    private static let droppingWide = ["lora_down", "lora_add_wide", "lora_grad_wide", "lora_grad_sum"]
    static let cases = [
        Case(element: .f16, rank: 8, dropout: 0.3, targets: ["q_proj", "v_proj"], kernels: dropping + ["lora_up", "lora_back"]),
        Case(element: .bf16, rank: 16, dropout: 0.3, targets: ["all-linear"], kernels: dropping + droppingWide + ["lora_up", "lora_gated_forward"]),
        Case(element: .bf16, rank: 8, dropout: 0.5, targets: ["q_proj", "k_proj", "v_proj"], head: 64, kernels: droppingWide + ["lora_up", "lora_back_sum"]),
        Case(element: .f16, rank: 24, dropout: 0.1, targets: ["gate_proj", "up_proj"], kernels: droppingWide + ["lora_gated_backward"]),
        Case(element: .f16, rank: 40, dropout: 0.1, targets: ["down_proj"], kernels: droppingWide + ["lora_up_residual"]),
        // A k without an adapter, rotated all the same; heads whose halves stand in two units.
        Case(element: .f16, rank: 8, dropout: 0, targets: ["q_proj", "v_proj"], head: 64, kernels: ["lora_up", "lora_back", "lora_back_sum"]),
        Case(element: .bf16, rank: 16, dropout: 0, targets: ["all-linear"], head: 128, kernels: ["lora_up", "lora_gated_backward"]),
        // A rank that the kernels do not take.
        Case(element: .bf16, rank: 12, dropout: 0, targets: ["all-linear"], head: 64, kernels: ["rope_apply", "gated_activation_backward"]),
        // Ranks and scales of single modules: kernels that serve several adapters with one rank and scale do not take them.
        Case(
            element: .bf16, rank: 8, dropout: 0, targets: ["q_proj", "v_proj", "gate_proj", "up_proj"], head: 64, kernels: ["lora_up"],
            exceptions: ["model.layers.0.self_attn.v_proj": .init(r: 8, alpha: 64), "model.layers.1.mlp.up_proj": .init(r: 16, alpha: 16)]),
        Case(
            element: .f16, rank: 16, dropout: 0.3, targets: ["q_proj", "v_proj"], head: 64, kernels: ["lora_down"],
            exceptions: ["model.layers.0.self_attn.v_proj": .init(r: 8, alpha: 16), "model.layers.1.self_attn.q_proj": .init(r: 16, alpha: 4)]),
    ]

    @Test(arguments: cases) func `a step's gradients are those of the processor`(_ item: Case) throws {
        let files = try RandomModel([
            ("hidden_size", 64), ("intermediate_size", 64), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", item.head), ("vocab_size", 101),
        ])
        var lora = LoRASettings(r: item.rank, alpha: 16, dropout: item.dropout, targetModules: item.targets)
        lora.exceptions = item.exceptions
        var batch = TokenBatch()
        for rows in [0..<20, 20..<270] {
            func tokens(_ offset: UInt64) -> [Int32] { rows.map { Int32(mix64(UInt64($0) + offset) % 101) } }
            batch.append(tokens(0), targets: tokens(99), weight: 1.0 / 270, dropoutKeys: rows.map { UInt32($0 * 7) })
        }
        func gradients(on device: EmulatedDevice?) throws -> (loss: Double, values: [Float], entries: [TrainedTensor]) {
            let compute = Compute(cpu: CPU(threads: 2), device: device, element: item.element)
            let model = try compute.model(files.source, storage: .f32, lora: lora, seed: 3)
            let values = model.adapters.floats(.values)
            for i in values.indices { values[i] += 0.05 * Float(Int(mix64(UInt64(i)) % 2001) - 1000) / 1000 }
            let session = try Session(model: model, maximumTokens: 320)
            let before = device?.unprepared
            let result = try session.accumulate(batch, zeroFirst: true)
            try session.pullAdapters()
            let gradients = Array(model.adapters.floats(.gradients))
            _ = try session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
            // Everything was compiled before the first launch.
            #expect(device?.unprepared == before)
            return (result.lossSum, gradients, model.adapters.tensors)
        }
        let device = EmulatedDevice()
        let (plain, card) = (try gradients(on: nil), try gradients(on: device))
        for kernel in item.kernels { #expect(device.launched[kernel + "_" + item.element.suffix] != nil, "\(kernel)") }
        #expect(abs(plain.loss - card.loss) < 0.005 * plain.loss)
        for entry in plain.entries {
            let range = entry.offset..<(entry.offset + entry.elementCount)
            func length(_ values: [Float]) -> Double { values[range].reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }
            let cosine = Vectors.cosine(plain.values[range], card.values[range])
            let ratio = length(card.values) / length(plain.values)
            #expect(cosine > (item.element == .f16 ? 0.9999 : 0.998), "\(entry.name): \(cosine)")
            #expect(abs(ratio - 1) < 0.02, "\(entry.name): length \(ratio)")
        }
    }
}
