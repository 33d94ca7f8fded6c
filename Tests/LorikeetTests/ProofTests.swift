import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// The proofs at the end of a run pass on evidence alone.
struct ProofTests {
    private func test(_ run: TinyRun, on device: EmulatedDevice? = nil) throws -> StandaloneTest.Result {
        try StandaloneTest(recipe: run.recipe(), adapter: run.output + "/adapter", merged: run.output + "/merged") { try TinyRun.open($0, device) }.run()
    }

    /// Multiplies a tensor of the merged model.
    private func damage(_ run: TinyRun, _ tensor: String, by factor: Float) throws {
        let file = URL(fileURLWithPath: run.output + "/merged/model.safetensors")
        var bytes = try Data(contentsOf: file)
        try TinyRun.scale(tensor, by: factor, in: &bytes)
        try bytes.write(to: file)
    }

    @Test func `a merged model of NaN or infinity fails both proofs, on the processor and on a card`() throws {
        var run = try TinyRun()
        run.options["merge-dtype"] = "float32"
        #expect(try run.run(on: nil).error == nil)
        #expect(try test(run).error == nil)
        try damage(run, "model.norm.weight", by: .nan)
        for device in [nil, EmulatedDevice()] {
            let result = try test(run, on: device)
            #expect(result.error?.exit == .checkFailed && result.error?.description.contains("NaN") == true, "\(String(describing: result.error))")
            #expect(result.json["merged_matches_adapter"]?["pass"] == false && result.json["transfer"]?["pass"] == false, "\(result.json.serialized())")
            #expect((result.json["merged_matches_adapter"]?["unusable_rows"]?.int ?? 0) > 0 && result.text.contains("merged = adapter  FAIL"))
            // What was measured of the other forms is there all the same.
            #expect(result.json["validation_loss_after"]?.double?.isFinite == true && result.text.contains("not a finite number"), "\(result.text)")
        }
    }

    @Test func `without held-out records transfer is not tested: a run says so and ends well, a test is exit 1`() throws {
        var run = try TinyRun()
        run.options["validation-share"] = "0"
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil)
        let summary = try #require(outcome.summary)
        #expect(summary["transfer"]?["pass"] == .null && summary["transfer"]?["merged_loss"] == .null, "\(summary.serialized())")
        // Identity is compared on training records then.
        #expect(summary["merged_matches_adapter"]?["pass"] == true && (summary["merged_matches_adapter"]?["rows"]?.int ?? 0) > 0)
        #expect(outcome.texts.contains { $0.contains("transfer was not tested") && $0.contains("validation_share") }, "\(outcome.texts)")
        #expect(outcome.texts.contains { $0.contains("transfer          not tested (no held-out records)") })
        let result = try test(run)
        #expect(result.error?.exit == .checkFailed && result.error?.description.contains("transfer was not tested") == true)
        #expect(result.json["transfer"]?["pass"] == .null)
    }

    @Test(arguments: [nil, 75, 80] as [Int?]) func `a base model of NaN or infinity ends no run with exit 0`(architecture: Int?) throws {
        for factor in [Float.nan, .infinity] {
            var run = try TinyRun { try TinyRun.scale("model.layers.1.input_layernorm.weight", by: factor, in: &$0) }
            run.options["max-steps"] = "1"
            let outcome = try run.run(on: architecture.map { EmulatedDevice(architecture: $0) })
            #expect(outcome.error != nil && outcome.summary == nil, "\(factor)")
        }
    }

    @Test func `numbers that cannot be compared are far apart`() {
        let good: [Float] = [1, 2, 3]
        #expect(Vectors.distance(good, good) == 0 && Vectors.cosine(good, good) == 1 && Vectors.relative(2, to: 2) == 0)
        #expect(abs(Vectors.distance([1, 2, 4], good) - 1 / 14.0.squareRoot()) < 1e-12)
        #expect(Vectors.relative(-1, to: 2) == 1.5 && Vectors.relative(1, to: -2) == 1.5)
        // B is 0, so A's gradient is 0 on both sides.
        #expect(Vectors.cosine([0, 0], [0, 0]) == 1 && Vectors.distance([0, 0], [0, 0]) == 0)
        func passes(_ a: [Float], _ b: [Float]) -> Bool {
            [Vectors.distance(a, b), 1 - Vectors.cosine(a, b)].contains { Deviation(name: "", measured: $0, tolerance: 1e9).passes }
        }
        for bad in [Float.nan, .infinity, -.infinity] {
            for place in 0..<3 {
                var broken = good
                broken[place] = bad
                for (a, b) in [(good, broken), (broken, good), (broken, broken)] { #expect(!passes(a, b)) }
            }
            for (a, b) in [(1, Double(bad)), (Double(bad), 1), (Double(bad), Double(bad))] {
                #expect(!Deviation(name: "", measured: Vectors.relative(a, to: b), tolerance: 1e9).passes)
            }
        }
        #expect(!passes([], []) && !passes(good, [1, 2]) && !Deviation(name: "", measured: Vectors.relative(1, to: 0), tolerance: 1e9).passes)
    }
}
