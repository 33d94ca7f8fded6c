import LorikeetGround
import EmulatedDevice
import LorikeetChecks
import LorikeetDevices
import LorikeetModelFiles
import Testing

@testable import Lorikeet
@testable import LorikeetEngine

/// The plain program and the fused one compute the same.
struct FusionTests {
    /// Heads of 64, ranks of eight and widths in 64s: every row of the table applies.
    private static func model(_ family: String) throws -> RandomModel {
        try RandomModel(
            [
                ("hidden_size", 64), ("intermediate_size", 128), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
                ("head_dim", 64), ("vocab_size", 97),
            ], family: family)
    }

    private static let lengths = [19, 9, 24]

    private static func batch() -> TokenBatch {
        var batch = TokenBatch()
        for length in lengths { batch.append((batch.rows..<batch.rows + length).map { Int32(mix64(UInt64($0)) % 97) }, weight: 1 / 49) }
        return batch
    }

    private struct Gradients {
        let flat: [Float]
        let entries: [TrainedTensor]
        let kinds: [String]
    }

    private static func gradients(_ modelType: String, _ device: EmulatedDevice?, _ element: DeviceElement, fuse: Bool, dropout: Double) throws -> Gradients {
        let lora = LoRASettings(r: 8, alpha: 16, dropout: dropout, targetModules: ["all-linear"])
        let random = try model(modelType)
        let model = try Compute(cpu: CPU(threads: 2), device: device, element: element).model(random.source, storage: .f32, lora: lora, seed: 3)
        let values = model.adapters.floats(.values)
        for i in values.indices { values[i] += 0.05 * Float(Int(mix64(UInt64(i)) % 2001) - 1000) / 1000 }
        var policy = PassPolicy(blocks: 1)
        policy.fuse = fuse
        let session = try Session(model: model, sizes: SessionSizes(training: 64, evaluation: 64), passes: policy)
        if element == .f16 { try session.setLossScaling(LossScaling(scale: 1024, goodSteps: 0)) }
        _ = try session.accumulate(batch(), zeroFirst: true)
        try session.pullAdapters()
        let program = session.program(.training, tokens: Session.batchRows(lengths.reduce(0, +), device == nil ? .cpu(threads: 2) : .device(element)))
        try program.verify()
        return Gradients(flat: Array(model.adapters.floats(.gradients)), entries: model.adapters.tensors, kinds: program.ops.map(\.kind))
    }

    private static let families = Families.table.map { $0.huggingFace.modelType }

    @Test(arguments: families, [0, 0.1]) func `in float32 the fused and the plain program give the same bits, on the processor and on a card`(
        family: String, dropout: Double
    ) throws {
        for device in [nil, EmulatedDevice()] {
            let plain = try Self.gradients(family, device, .f32, fuse: false, dropout: dropout)
            let fused = try Self.gradients(family, device, .f32, fuse: true, dropout: dropout)
            #expect(plain.kinds != fused.kinds && plain.kinds.count > fused.kinds.count)
            #expect(plain.flat == fused.flat && plain.flat.contains { $0 != 0 })
        }
    }

    /// Limits of a 16-bit gradient against float32's, as `ReferenceCheck.Tolerance.narrow`.
    @Test(arguments: families, [DeviceElement.bf16, .f16]) func `in 16 bits the fused and the plain program are as near to float32 as the type allows`(
        family: String, element: DeviceElement
    ) throws {
        let exact = try Self.gradients(family, nil, .f32, fuse: true, dropout: 0)
        let limit = ReferenceCheck.Tolerance.narrow(element).cosine
        var kinds: [[String]] = []
        for fuse in [false, true] {
            let device = EmulatedDevice(architecture: element == .f16 ? 75 : 80)
            let ours = try Self.gradients(family, device, element, fuse: fuse, dropout: 0)
            for entry in ours.entries {
                let range = entry.offset..<entry.offset + entry.elementCount
                let distance = 1 - Vectors.cosine(ours.flat[range], exact.flat[range])
                #expect(distance <= limit, "\(entry.name), \(fuse ? "fused" : "plain"): \(distance)")
            }
            kinds.append(ours.kinds)
        }
        // LoRA's second product is an op of its own in the plain program and nowhere in the fused one but for o and down.
        #expect(kinds[0].count { $0 == "lora.up" } > kinds[1].count { $0 == "lora.up" })
        // An addition joins the norm that reads its sum. In OLMo's blocks linears read the stream, so that only the last addition has one.
        let additions = kinds.map { $0.count { $0 == "add" } }
        #expect(additions[1] < additions[0] && (additions[1] == 0 || family.hasPrefix("olmo")))
    }
}
