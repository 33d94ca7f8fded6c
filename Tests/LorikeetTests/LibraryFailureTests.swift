import Foundation
import LorikeetDevices
import LorikeetGround
import Testing

@testable import Lorikeet

/// What a call of the library throws; nil where it throws nothing.
func failure<Value>(_ body: () async throws(LorikeetFailure) -> Value) async -> LorikeetFailure? {
    do throws(LorikeetFailure) {
        _ = try await body()
        return nil
    } catch {
        return error
    }
}

/// The kinds of failures that the public library throws, each brought about by a public call.
struct LibraryFailureTests {
    @Test func `an unknown option, storage, device or number is invalid input with place and fix`() async throws {
        let option = #expect(throws: LorikeetFailure.self) { try FineTuning(options: ["lora-rr": "8"]) }
        #expect(option?.kind == .invalidInput && option?.exitCode == 2 && option?.fix?.contains("--lora-r") == true)
        #expect(option.map { "\($0)" }?.contains("did you mean --lora-r?") == true)
        let run = try TinyRun()
        let model = run.folder + "/model"
        let storage = await failure { () async throws(LorikeetFailure) in try await Generator(model: model, baseStorage: "q4", device: "cpu") }
        #expect(storage?.kind == .invalidInput && storage?.place == "baseStorage")
        let device = await failure { () async throws(LorikeetFailure) in try await Generator(model: model, device: "gpu") }
        #expect(device?.kind == .invalidInput && device?.place == "device")
        let threads = await failure { () async throws(LorikeetFailure) in try await Generator(model: model, device: "cpu", threads: -1) }
        #expect(threads?.kind == .invalidInput && threads?.place == "threads")
        let generator = try await Generator(model: model, device: "cpu", threads: 1)
        let tokens = await failure { () async throws(LorikeetFailure) in try await generator.answer(.text("a"), maxNewTokens: 0) }
        #expect(tokens?.kind == .invalidInput && tokens?.place == "maxNewTokens")
        let many = await failure { () async throws(LorikeetFailure) in try await generator.answers([.text("a")], maxNewTokens: 1, atATime: 0) }
        #expect(many?.kind == .invalidInput && many?.place == "atATime")
        var sampling = SamplingOptions()
        sampling.topK = 3
        let rules = await failure { () async throws(LorikeetFailure) in try await generator.answer(.text("a"), maxNewTokens: 1, sampling: sampling) }
        #expect(rules?.kind == .invalidInput && rules?.what.contains("top_k") == true)
        let empty = await failure { () async throws(LorikeetFailure) in for try await _ in generator.stream(.text(""), maxNewTokens: 1) {} }
        #expect(empty?.kind == .invalidInput)
    }

    @Test func `what is not there is unreadable, and a file that is cut short is damaged`() async throws {
        var run = try TinyRun()
        let model = run.folder + "/model"
        let missing = await failure { () async throws(LorikeetFailure) in try await Generator(model: "/no/model/here", device: "cpu") }
        #expect(missing?.kind == .unreadableFile, "\(String(describing: missing))")
        let adapter = await failure { () async throws(LorikeetFailure) in
            try await FineTuning.merge(model: model, adapter: "/no/adapter/here", output: run.folder + "/merged")
        }
        #expect(adapter?.kind == .unreadableFile, "\(String(describing: adapter))")
        run.options["data"] = "/no/data/here.jsonl"
        let tuning = try run.tuning()
        let data = await failure { () async throws(LorikeetFailure) in try await tuning.plan() }
        #expect(data?.kind == .unreadableFile && data?.place == "/no/data/here.jsonl", "\(String(describing: data))")
        let weights = URL(fileURLWithPath: model + "/model.safetensors")
        try Data(contentsOf: weights).prefix(5000).write(to: weights)
        let damaged = await failure { () async throws(LorikeetFailure) in try await Generator(model: model, device: "cpu") }
        #expect(damaged?.kind == .damagedFile && damaged?.place?.contains("model.safetensors") == true, "\(String(describing: damaged))")
    }

    @Test func `a session that is too short does not fit, which the plan says and the run throws`() async throws {
        var run = try TinyRun()
        run.options["num-train-epochs"] = "2000"
        run.options["session"] = "1s"
        let tuning = try run.tuning()
        let plan = try await tuning.plan()
        #expect(plan.misfit?.kind == .doesNotFit && plan.misfit?.exitCode == 3)
        let refused = await failure { () async throws(LorikeetFailure) in try await tuning.run().summary() }
        #expect(refused?.kind == .doesNotFit)
        run.options["session"] = "9h"
        #expect(try await run.tuning().plan().misfit == nil)
    }

    @Test func `a failed proof is a failed check, and its results are written`() async throws {
        var run = try TinyRun()
        run.options["merge-tolerance"] = "0"
        let tuning = try run.tuning()
        let failed = await failure { () async throws(LorikeetFailure) in for try await _ in tuning.run() {} }
        #expect(failed?.kind == .checkFailed && failed?.exitCode == 1, "\(String(describing: failed))")
        #expect(FileManager.default.fileExists(atPath: run.output + "/merged/config.json"))
    }

    @Test func `a directory that cannot be written is a failure of the machine`() async throws {
        let run = try TinyRun()
        try FileManager.default.createDirectory(atPath: run.output + "/.lock", withIntermediateDirectories: true)
        let tuning = try run.tuning()
        let failed = await failure { () async throws(LorikeetFailure) in try await tuning.run().summary() }
        #expect(failed?.kind == .machineFailed && failed?.exitCode == 4, "\(String(describing: failed))")
    }

    @Test func `a hub that cannot be reached is a failure of the network`() async throws {
        var run = try TinyRun()
        run.options["model"] = "someone/something"
        let tuning = try run.tuning(["HF_ENDPOINT": "http://127.0.0.1:1"])
        let failed = await failure { () async throws(LorikeetFailure) in try await tuning.plan() }
        #expect(failed?.kind == .networkFailed && failed?.exitCode == 4, "\(String(describing: failed))")
    }

    @Test func `a card that is not there is an unavailable device`() async throws {
        guard !CUDADevice.isPresent(.init()) else { return print("skipped: this machine has a card") }
        let run = try TinyRun()
        let failed = await failure { () async throws(LorikeetFailure) in try await Generator(model: run.folder + "/model", device: "cuda:0") }
        #expect(failed?.kind == .deviceUnavailable && failed?.fix?.contains("cpu") == true, "\(String(describing: failed))")
    }

    /// Every call of the library that can be the first checks the processor before anything else: model and data do not even exist.
    @Test func `a processor without vector instructions is refused by the first call`() async throws {
        await Machine.$hasVectorInstructions.withValue(false) {
            let tuning = #expect(throws: LorikeetFailure.self) { try FineTuning(options: ["no-such-option": "1"]) }
            #expect(tuning?.kind == .unsupportedProcessor && tuning?.exitCode == 2)
            let merging = await failure { () async throws(LorikeetFailure) in try await FineTuning.merge(model: "/none", adapter: "/none", output: "/none") }
            #expect(merging?.kind == .unsupportedProcessor)
            let exporting = await failure { () async throws(LorikeetFailure) in
                try await FineTuning.export(model: "/none", output: "/none", options: .init(forms: ["none"]))
            }
            #expect(exporting?.kind == .unsupportedProcessor)
            let loading = await failure { () async throws(LorikeetFailure) in try await Generator(model: "/none") }
            #expect(loading?.kind == .unsupportedProcessor)
            #expect(
                loading.map { "\($0)" }
                    == "this processor has no AVX2 and FMA, which Lorikeet's arithmetic needs; use a machine from 2013 or later")
        }
    }

    @Test func `every exit code has a kind, and an error of another type is a failure of the machine`() {
        func kind(_ error: LorikeetError) -> LorikeetFailure.Kind { LorikeetFailure(error).kind }
        #expect(kind(LorikeetError(.checkFailed, "x")) == .checkFailed && kind(.input("x")) == .invalidInput && kind(.machine("x")) == .machineFailed)
        #expect(kind(LorikeetError(.doesNotFit, "x")) == .doesNotFit && kind(LorikeetError(.stoppedEarly, "x")) == .interrupted)
        // A lack of a card's memory is about the plan, not about the card.
        #expect(kind(LorikeetError(.doesNotFit, "x").of(.device)) == .doesNotFit && kind(.machine("x").of(.device)) == .deviceUnavailable)
        struct Other: Error {}
        #expect(LorikeetFailure(Other()).kind == .machineFailed && LorikeetFailure(Other()).exitCode == 4)
    }
}
