import Foundation
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import Testing

@testable import Lorikeet

/// Runs on a processor with enough threads for replicas.
struct ReplicaRunTests {
    private static func run(dropout: String, threads: Int = 8) throws -> TinyRun {
        var run = try TinyRun()
        run.threads = threads
        (run.options["lora-dropout"], run.options["per-device-train-batch-size"], run.options["num-train-epochs"]) = (dropout, "6", "2")
        return run
    }

    @Test(arguments: ["0", "0.1"]) func `a run with replicas is planned, computes what its plan says, and goes on to the same bits`(dropout: String) throws {
        let calm = try Self.run(dropout: dropout)
        #expect(try calm.run(on: nil).error == nil)
        let plan = try calm.json("plan.json")
        #expect(plan["choices"]?["replicas"]?.int == 2 && plan["choices"]?["replica_rows"]?.int == 1024)
        let lines = try String(contentsOfFile: calm.output + "/events.jsonl", encoding: .utf8).split(separator: "\n")
        let steps = try lines.map { try JSON.parse(String($0), source: "line") }.filter { $0["event"]?.string == "step" }
        #expect(!steps.isEmpty && plan["computed_tokens"]?.int == steps.reduce(0) { $0 + ($1["computed_tokens"]?.int ?? 0) })
        // No micro-batch has all of a step.
        #expect((plan["choices"]?["training_rows"]?.int ?? .max) < (steps.compactMap { $0["computed_tokens"]?.int }.max() ?? 0))

        let stopped = try Self.run(dropout: dropout)
        #expect(try stopped.run(on: nil, stopAfter: 3).error?.exit == .stoppedEarly)
        #expect(try stopped.run(on: nil).error == nil)
        #expect(try stopped.adapter() == calm.adapter())
        // As many threads as one replica has, and fewer: the same micro-batches.
        var fewer = try Self.run(dropout: dropout)
        #expect(try fewer.run(on: nil, stopAfter: 3).error?.exit == .stoppedEarly)
        fewer.threads = 1
        #expect(try fewer.run(on: nil).error == nil)
        #expect(try Plan.choices(from: fewer.json("plan.json"))?.sizes.replicas == Replicas(count: 2, rows: 1024))
    }

    @Test func `where memory is short a plan has no replicas`() throws {
        let run = try Self.run(dropout: "0")
        var recipe = try run.recipe()
        let compute = try TinyRun.open(recipe, nil, threads: 8)
        func plan() throws -> Plan {
            var preparation = try Preparation(recipe: recipe, files: RealFiles())
            let dataset = try preparation.loadData(files: RealFiles(), cpu: compute.cpu)
            return try preparation.plan(dataset, merges: true, compute: compute)
        }
        let roomy = try plan()
        #expect(roomy.choices.sizes.replicas.count == 2)
        recipe.set("ram", .text("1MiB"))
        let short = try plan()
        #expect(short.choices.sizes.replicas == .one && short.computedTokens <= roomy.computedTokens)
        #expect(short.choices.sizes.training >= roomy.choices.sizes.training)
    }
}
