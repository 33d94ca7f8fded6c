import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// A run on the processor whose samples begin alike.
struct SharedTrainingTests {
    @Test(arguments: ["0", "0.1"]) func `the plan knows the tokens that training computes`(dropout: String) throws {
        var run = try TinyRun()
        (run.options["lora-dropout"], run.options["per-device-train-batch-size"], run.options["gradient-accumulation-steps"]) = (dropout, "6", "1")
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
        let lines = try String(contentsOfFile: run.output + "/events.jsonl", encoding: .utf8).split(separator: "\n")
        let steps = try lines.map { try JSON.parse(String($0), source: "line") }.filter { $0["event"]?.string == "step" }
        func sum(_ field: String) -> Int { steps.reduce(0) { $0 + ($1[field]?.int ?? 0) } }
        let plan = try run.json("plan.json")
        #expect(!steps.isEmpty && plan["train_tokens"]?.int == sum("tokens") && plan["computed_tokens"]?.int == sum("computed_tokens"))
        // A step is one micro-batch, whose size the plan knows.
        #expect(plan["choices"]?["training_rows"]?.int == steps.compactMap { $0["computed_tokens"]?.int }.max())
        // With dropout every sample masks its beginning by itself.
        #expect((sum("computed_tokens") < sum("tokens")) == (dropout == "0"))
    }
}
