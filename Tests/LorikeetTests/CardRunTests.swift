import EmulatedDevice
import Foundation
import LorikeetDatasets
import LorikeetChecks
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe
import LorikeetTraining
import Testing

@testable import Lorikeet

/// The whole pipeline on an emulated card.
struct CardRunTests {
    @Test(arguments: [DeviceElement.bf16, .f16]) func `a run on a card ends merged and proven, within the memory it planned`(element: DeviceElement) throws {
        let run = try TinyRun()
        let device = EmulatedDevice(architecture: element == .f16 ? 75 : 80)
        let outcome = try run.run(on: device)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let summary = try #require(outcome.summary)
        #expect(summary["steps"]?.int == 6 && summary["merged_matches_adapter"]?["pass"]?.bool == true, "\(summary.serialized())")
        let (peak, predicted) = (summary["peak_gpu_bytes"]?.double ?? 0, summary["predicted_gpu_bytes"]?.double ?? 0)
        // Tiny samples leave a cache that is planned in steps of 32 positions half empty.
        #expect(peak > 100_000 && peak <= predicted && peak > 0.94 * predicted, "\(peak) of \(predicted)")
        // Nothing stays on the card.
        #expect(device.allocatedBytes == 0)
        let choices = try run.json("plan.json")["choices"]
        #expect(choices?["device"]?.string == "emulated" && choices?["compute_type"]?.string == element.suffix)
        #expect(choices?["merged_on_card"]?.bool == true && choices?["compared_on_card"]?.bool == true)
        // A step is one micro-batch: nothing forbids it here.
        #expect(outcome.count(.step) == 6 && outcome.events.contains { ($0.fields["gpu_used_bytes"]?.int ?? 0) > 100_000 })
        #expect(outcome.texts.contains { $0.contains("float16 is enough") } == (element == .f16))
        for name in [element.suffix, "f32"] { #expect(Self.answered(on: device, name)) }
        // `lorikeet test` of what the run left comes to the same numbers.
        let again = try StandaloneTest(recipe: run.recipe(), adapter: run.output + "/adapter", merged: run.output + "/merged") {
            try TinyRun.open($0, device)
        }.run()
        #expect(again.error == nil)
        for key in ["validation_loss_before", "validation_loss_after", "answers_right_after", "merged_matches_adapter"] {
            #expect(again.json[key] == summary[key], "\(key)")
        }
        // The processor's run of the same recipe, in float32, comes to nearly the same losses.
        var plain = run
        plain.output += "-cpu"
        let reference = try #require(try plain.run(on: nil).summary)
        for key in ["train_loss", "validation_loss_before", "validation_loss_after"] {
            let (a, b) = (summary[key]?.double ?? .nan, reference[key]?.double ?? .nan)
            #expect(abs(a - b) < 0.02 * b, "\(key): \(a) against \(b)")
        }
    }

    @Test func `stopped after any step, a run in float16 goes on to the same bits and the same loss scale`() throws {
        let calm = try TinyRun()
        #expect(try calm.run(on: EmulatedDevice(architecture: 75), goal: .adapter).error == nil)
        var stopped = calm
        stopped.output += "-stopped"
        let first = try stopped.run(on: EmulatedDevice(architecture: 75), goal: .adapter, stopAfter: 3)
        #expect(first.error?.exit == .stoppedEarly)
        let state = try stopped.json("checkpoints/step-000003/trainer_state.json")
        let reached = try calm.json("checkpoints/step-000006/trainer_state.json")
        #expect(state["loss_scale"]?.double == reached["loss_scale"]?.double && (state["loss_scale"]?.double ?? 0) > 1)
        #expect(state["loss_scale_good_steps"]?.int == 3 - (state["skipped_steps"]?.int ?? 0))
        let second = try stopped.run(on: EmulatedDevice(architecture: 75), goal: .adapter)
        #expect(second.error == nil && second.count(.step) == 3)
        #expect(try stopped.adapter() == calm.adapter())
    }

    @Test func `what was measured of products is kept with the plan, and stands when the run goes on, whatever is asked for then`() throws {
        var run = try TinyRun()
        run.options["tune"] = "true"
        #expect(try run.run(on: EmulatedDevice(), goal: .adapter, stopAfter: 3).error?.exit == .stoppedEarly)
        func kept() throws -> [String: Int] {
            let choices = try #require(run.json("plan.json")["choices"])
            #expect(choices["tuned"]?.bool == true)
            return Dictionary(uniqueKeysWithValues: (choices["products"]?.object?.entries ?? []).map { ($0.key, $0.value.int ?? -1) })
        }
        let first = try kept()
        #expect(first.count > 3 && Set(first.values).count > 1, "\(first)")
        run.options["tune"] = "false"
        let device = EmulatedDevice()
        #expect(try run.run(on: device, goal: .adapter).error == nil)
        #expect(device.gemmChoices?.measures == true)
        #expect(first.allSatisfy { device.gemmChoices?.algorithms[$0.key] == $0.value })
        #expect(try kept().filter { first[$0.key] != nil } == first)
        // Without it nothing is measured, and nothing is written.
        let plain = EmulatedDevice()
        run.output += "-plain"
        #expect(try run.run(on: plain, goal: .adapter).error == nil)
        #expect(plain.gemmChoices?.algorithms.isEmpty == true)
        #expect(try run.json("plan.json")["choices"]?["tuned"] == nil)
    }

    @Test func `another device on resume is told, and the run goes on`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: EmulatedDevice(architecture: 80), goal: .adapter, stopAfter: 2).error?.exit == .stoppedEarly)
        let next = try run.run(on: nil, goal: .adapter)
        #expect(next.error == nil && next.count(.step) == 4)
        #expect(next.texts.contains { $0.contains("began on emulated (bf16, 80) and goes on with cpu") }, "\(next.texts)")
        #expect(try run.json("plan.json")["choices"]?["device"]?.string == "cpu")
    }

    @Test func `a cap too small is exit 3 with the smallest that would do, and that one does`() throws {
        var run = try TinyRun()
        run.options["gpu-memory"] = "64KiB"
        let refused = try run.run(on: EmulatedDevice(), goal: .adapter)
        #expect(refused.error?.exit == .doesNotFit && !FileManager.default.fileExists(atPath: run.output))
        let text = refused.error?.description ?? ""
        let found = try #require(text.firstMatch(of: /--gpu-memory (\d+MiB) \(takes/), "\(text)")
        run.options["gpu-memory"] = String(found.1)
        #expect(try run.run(on: EmulatedDevice(), goal: .adapter).error == nil)
    }

    @Test func `under a cap a step is split or blocks run again, the plan stays below it, and the gradient is the same`() throws {
        var run = try TinyRun()
        run.options["per-device-train-batch-size"] = "18"
        let free = try Capped(run, cap: nil)
        #expect(free.plan.choices.passes.blocks == 0 && free.plan.choices.sizes.training >= free.plan.trainTokens / free.plan.steps)
        let whole = try free.gradients()
        #expect(whole.batches == 1)
        var (split, recomputed) = (false, false)
        for percent in stride(from: 95, to: 30, by: -5) where !(split && recomputed) {
            let cap = Int(free.plan.predictedGPUBytes) * percent / 100
            // Below the smallest that would do there is no plan.
            guard let capped = try? Capped(run, cap: cap) else { break }
            let choices = capped.plan.choices
            #expect(capped.plan.predictedGPUBytes <= cap && choices.sizes.training > 0)
            #expect(choices.tokensPerBatch < free.plan.choices.tokensPerBatch || choices.passes.blocks > 0 || !choices.keepsExpanded)
            let (isSplit, recomputes) = (choices.tokensPerBatch < free.plan.choices.tokensPerBatch, choices.passes.blocks > 0)
            guard isSplit && !split || recomputes && !recomputed else { continue }
            (split, recomputed) = (split || isSplit, recomputed || recomputes)
            let part = try capped.gradients()
            #expect((part.batches > 1) == isSplit)
            #expect(part.entries.map(\.name) == whole.entries.map(\.name) && part.entries.count == 12)
            for entry in whole.entries {
                let range = entry.offset..<entry.offset + entry.elementCount
                #expect(whole.values[range].contains { $0 != 0 }, "\(entry.name)")
                // Of one matrix, relative to its own norm: sums of 18 samples in another order.
                let distance = Vectors.distance(part.values[range], whole.values[range])
                #expect(distance < 1e-5, "\(entry.name) under \(percent) %: \(distance)")
            }
        }
        #expect(split && recomputed)
    }

    /// The plan of a run under a cap on an emulated card in float32, and the first step's gradient as that plan has it computed.
    private struct Capped {
        let plan: Plan
        private let recipe: Recipe
        private let preparation: Preparation
        private let dataset: Dataset
        private let compute: Compute

        init(_ run: TinyRun, cap: Int?) throws {
            var run = run
            run.options["gpu-memory"] = cap.map(String.init)
            recipe = try run.recipe()
            compute = Compute(cpu: CPU(threads: 2), device: EmulatedDevice(), element: .f32)
            var preparation = try Preparation(recipe: recipe, files: RealFiles())
            dataset = try preparation.loadData(files: RealFiles(), cpu: compute.cpu)
            plan = try preparation.plan(dataset, merges: false, compute: compute)
            self.preparation = preparation
        }

        /// - Returns: the gradient of the step's mean loss, its matrices, and in how many micro-batches it was computed.
        func gradients() throws -> (values: [Float], entries: [TrainedTensor], batches: Int) {
            let choices = plan.choices
            let model = try compute.model(preparation.source, storage: choices.storage, lora: recipe.loraSettings, seed: 1)
            // B is not zero, so that A's gradient is not.
            let values = model.adapters.floats(.values)
            for i in values.indices { values[i] += 0.05 * Float(Int(mix64(UInt64(i)) % 2001) - 1000) / 1000 }
            if choices.keepsExpanded { try model.keepExpanded() }
            let session = try Session(model: model, sizes: choices.sizes, passes: choices.passes)
            try session.pushAdapters()
            let settings = recipe.trainingSettings(tokensPerBatch: choices.tokensPerBatch)
            let step = StepSampler(settings: settings, count: dataset.train.count).samples(ofStep: 0)
            var batches = try pack(samples: dataset.train.samples(at: step.indices), tokensPerBatch: choices.tokensPerBatch)
            let trained = batches.reduce(0) { $0 + $1.trainedRows }
            for index in batches.indices { batches[index].setWeight(1 / Float(trained)) }
            for (number, batch) in batches.enumerated() {
                _ = try session.accumulate(batch, zeroFirst: number == 0)
            }
            try session.pullAdapters()
            return (Array(model.adapters.floats(.gradients)), model.adapters.tensors, batches.count)
        }
    }

    @Test func `a model that leaves float16's range is refused before it is trained`() throws {
        let run = try TinyRun { try TinyRun.scale("model.layers.1.post_attention_layernorm.weight", by: 4000, in: &$0) }
        let outcome = try run.run(on: EmulatedDevice(architecture: 75), goal: .adapter)
        #expect(outcome.error?.exit == .unusableInput && outcome.count(.step) == 0)
        let text = outcome.error?.description ?? ""
        for word in ["float16 (65504)", "gate", "layers.1", "compute_type float32"] { #expect(text.contains(word), "\(text)") }
    }

    @Test func `a generator on a card answers as the processor does in float32`() throws {
        let run = try TinyRun()
        let adapter = TinyRun.testsFolder.appending(path: "Reference/llama/adapter_init").path
        func answer(_ device: EmulatedDevice?) throws -> String {
            let compute = Compute(cpu: CPU(threads: 2), device: device, element: .f32)
            return try AnsweringModel(model: run.folder + "/model", adapter: adapter, baseStorage: "nf4", compute: compute)
                .answer(to: .messages([(role: "user", content: "what is it?")]), maxNewTokens: 12, sampling: SamplingOptions()).text
        }
        let device = EmulatedDevice()
        #expect(try answer(device) == answer(nil))
        #expect(Self.answered(on: device, "f32") && device.allocatedBytes == 0)
    }

    /// Whether new tokens attended to cached ones in elements of that name.
    private static func answered(on device: EmulatedDevice, _ element: String) -> Bool {
        device.launched.contains { $0.key.hasPrefix("cached_attention_") && $0.key.hasSuffix("_" + element) && $0.value > 0 }
    }
}
