import Foundation
import LorikeetJSON
import Testing

/// `plan --as`: a card that is not here.
struct PlanAsTests {
    @Test func `a plan for another card needs no card and says that it was not measured`() throws {
        let tiny = try TinyFolder()
        let file = try Binary.file((0..<8).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# }.joined(separator: "\n"))
        func plan(_ more: String...) throws -> Binary.Outcome {
            try Binary.run(
                ["plan", "--model", tiny.model, "--data", file, "--output", tiny.path + "/out", "--max-steps", "2", "--warmup-steps", "1"] + more,
                environment: ["LORIKEET_CUDA_LIBRARIES": tiny.path])
        }
        let t4 = try plan("--as", "t4")
        #expect(t4.status == 0 && t4.out.contains("Tesla T4, f16") && t4.out.contains("not measured on this card"), "\(t4.error)\(t4.out)")
        let h100 = try plan("--as", "h100", "--gpu-memory", "9GiB", "--json")
        let json = try JSON.parse(h100.out, source: "plan")
        #expect(h100.status == 0 && json["planned_for"]?["measured"] == true && json["planned_for"]?["elsewhere"] == true, "\(h100.error)")
        #expect(json["choices"]?["compute_type"] == "bf16" && json["predicted_gpu_bytes"]?.int ?? 0 < 9 << 30)
        let older = try plan("--as", "h100", "--gpu-arch", "75", "--json")
        #expect(try JSON.parse(older.out, source: "plan")["choices"]?["compute_type"] == "f16")
        let unknown = try plan("--as", "t5")
        #expect(unknown.status == 2 && unknown.error.contains("t4, l4, a100, h100, h200, rtx4090"), "\(unknown.error)")
        let bfloat = try plan("--as", "t4", "--compute-type", "bfloat16")
        #expect(bfloat.status == 2 && bfloat.error.contains("bfloat16 needs compute capability 8.0"))
        let small = try plan("--as", "t4", "--gpu-memory", "200MiB")
        #expect(small.status == 3, "\(small.error)")
        let named = try plan("--as", "t4", "--device", "cpu")
        #expect(named.status == 0 && named.error.contains("'device' has no effect"))
    }
}
