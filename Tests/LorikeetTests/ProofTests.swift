import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetRecipe
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

    @Test func `another tokenizer in the merged folder fails the sidecar proof, with exit 1`() throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil && outcome.summary?["sidecar"]?["pass"] == true && (outcome.summary?["sidecar"]?["texts"]?.int ?? 0) > 0)
        #expect(outcome.texts.contains { $0.contains("sidecar           pass") })
        try FileManager.default.removeItem(atPath: run.output + "/merged/tokenizer.json")
        let result = try test(run)
        #expect(result.error?.exit == .checkFailed && result.error?.description.contains("tokenizer") == true, "\(String(describing: result.error))")
        #expect(result.json["sidecar"]?["pass"] == false && result.text.contains("sidecar           FAIL"))
        #expect(result.json["merged_matches_adapter"]?["pass"] == true)
    }

    @Test func `evaluation records alone are enough for a test`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let held = run.folder + "/held.jsonl"
        try RealFiles().writeDurably((0..<5).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# + "\n" }.joined(), to: held)
        run.options["validation"] = held
        let both = try test(run)
        let options = run.allOptions.filter { $0.key != "data" }.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
        let recipe = try Recipe.resolve(file: nil, options: options).recipe
        func tested(_ recipe: Recipe) throws -> StandaloneTest.Result {
            try StandaloneTest(recipe: recipe, adapter: run.output + "/adapter", merged: run.output + "/merged") { try TinyRun.open($0, nil) }.run()
        }
        let alone = try tested(recipe)
        #expect(alone.error == nil && alone.json["validation_loss_after"]?.double?.isFinite == true, "\(alone.text)")
        // The training records decide nothing.
        #expect(alone.json["validation_loss_after"] == both.json["validation_loss_after"])
        // A folder is named for its validation records.
        try RealFiles().createDirectory(run.folder + "/held")
        try RealFiles().rename(held, to: run.folder + "/held/validation.jsonl")
        var folder = recipe
        folder.set("validation", .list([run.folder + "/held"]))
        #expect(try tested(folder).json["validation_loss_after"] == alone.json["validation_loss_after"])
        folder.set("validation", .none)
        let error = #expect(throws: LorikeetError.self) { try tested(folder) }
        #expect(error?.exit == .unusableInput && error?.description.contains("no records to test on are named") == true, "\(String(describing: error))")
    }

    @Test func `a test on records that the adapter's run did not hold out says so`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let says = "not the records that the adapter's run held out"
        #expect(try !test(run).warnings.contains { $0.contains(says) })
        run.options["validation-share"] = "0.5"
        #expect(try test(run).warnings.contains { $0.contains(says) && $0.contains("validation_share: 0.25 -> 0.5") })
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
}
