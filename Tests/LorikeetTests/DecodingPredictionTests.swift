import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import Testing

/// A decoding step's seconds as a plan predicts them, against those of docs/benchmarks.md, which one H200 took (bfloat16, prompts of 128 tokens, 128 new ones).
struct DecodingPredictionTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let shape: String
        let storage: BaseStorage
        let sequences: Int
        let milliseconds: Double
        var testDescription: String { "\(shape), \(storage.rawValue), \(sequences)" }
    }

    static let rows = [
        Row(shape: "llama-3.2-1b", storage: .f16, sequences: 32, milliseconds: 1.353),
        Row(shape: "llama-3.2-1b", storage: .f16, sequences: 1, milliseconds: 1.156),
        Row(shape: "llama-3.2-1b", storage: .nf4, sequences: 32, milliseconds: 2.145),
        Row(shape: "llama-3.2-1b", storage: .nf4, sequences: 16, milliseconds: 1.373),
        Row(shape: "llama-3.2-1b", storage: .nf4, sequences: 1, milliseconds: 1.120),
        Row(shape: "smollm2-135m", storage: .f16, sequences: 32, milliseconds: 1.100),
        Row(shape: "smollm2-135m", storage: .nf4, sequences: 32, milliseconds: 1.546),
        Row(shape: "smollm2-135m", storage: .nf4, sequences: 1, milliseconds: 1.041),
        Row(shape: "llama-7b", storage: .nf4, sequences: 16, milliseconds: 5.358),
        Row(shape: "qwen3-8b", storage: .nf4, sequences: 32, milliseconds: 10.871),
    ]

    @Test(arguments: rows) func `a step of decoding takes about as long as it is predicted to`(row: Row) throws {
        var card = AcceleratorProperties(name: "NVIDIA H200", architecture: 90, multiprocessors: 132, totalBytes: 150_000_000_000, driver: "")
        card.capability = 90
        var request = ProgramRequest(
            storage: row.storage, lora: nil, sizes: SessionSizes(training: 0, evaluation: 32), target: .device(.bf16))
        (request.slots, request.positions) = (row.sequences, 256)
        let plan = try Session.plan(Bench.configuration(shape: row.shape), request) { _ in row.storage == .nf4 ? .bf16 : .f16 }
        let step = try #require(plan.decoding)
        let predicted = 1e3 * (plan.seconds(step, Workload(), DeviceModel.predicting(card, .bf16).decoding) + DeviceModel.submissionSeconds)
        #expect(max(predicted / row.milliseconds, row.milliseconds / predicted) < 1.2, "\(predicted) ms predicted, \(row.milliseconds) measured")
    }
}
