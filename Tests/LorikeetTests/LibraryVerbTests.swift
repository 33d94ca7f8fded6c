import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// What the library does beside running and answering: `check` and `export`, as values.
struct LibraryVerbTests {
    // MARK: check

    @Test func `a check counts the data, shows samples token by token, and keeps the samples for the run`() async throws {
        let run = try TinyRun()
        let tuning = try run.tuning()
        let check = try await tuning.check()
        // 24 records, a quarter of them held out.
        #expect(check.training.recordsInFiles == 24 && check.training.samples == 18 && check.validation?.samples == 6)
        #expect(check.training.layout == "prompt" && check.training.source == run.folder + "/train.jsonl" && check.training.unusable == 0)
        #expect(check.training.trainedTokens > 0 && check.training.trainedTokens < check.training.tokens && check.training.longest < 48)
        #expect(check.mistakes.isEmpty && check.failure == nil && check.samples.count == 2)
        let first = try #require(check.samples.first)
        #expect(first.tokens.map(\.text).joined().contains("say ") && first.description.contains("[a]"), "\(first)")
        // The answer is learnt, the question is not.
        let asked = try #require(first.tokens.firstIndex { $0.isTrained })
        #expect(first.tokens[asked...].allSatisfy(\.isTrained) && first.tokens[..<asked].contains { $0.text == ":" })
        let json = try JSON.parse(check.json, source: "check")
        #expect(json["train"]?["samples"]?.int == 18 && json["samples"]?.array?.first?["ids"]?.array?.count == first.tokens.count)
        #expect(check.description.contains("records chosen"))
        // The records that were asked for, where they are training samples.
        let chosen = check.samples.map(\.record)
        let again = try await tuning.check(samples: .records([chosen[1], 9999]))
        #expect(again.samples == [check.samples[1]])
        let stored = try FileManager.default.contentsOfDirectory(atPath: run.folder + "/cache/lorikeet/samples")
        #expect(stored.count { $0.hasSuffix(".index") } == 1, "\(stored)")
    }

    @Test func `a mistake in the data is a part of the check, and what cannot be read is thrown`() async throws {
        var run = try TinyRun()
        run.options["max-length"] = "8"
        let short = try run.tuning()
        let check = try await short.check()
        #expect(check.training.truncated > 0 && check.failure?.kind == .checkFailed && check.failure?.exitCode == 1)
        #expect(check.mistakes.first.map { $0.what == check.failure?.what && $0.fix == check.failure?.fix } == true, "\(check.mistakes)")
        run.options["data"] = "/no/data/here.jsonl"
        let missing = try run.tuning()
        #expect(await failure { () async throws(LorikeetFailure) in try await missing.check() }?.kind == .unreadableFile)
    }

    // MARK: export

    @Test func `an export is written with the adapter added, and says its files`() async throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let (model, output) = (run.folder + "/model", run.folder + "/gguf")
        var options = FineTuning.ExportOptions(forms: ["F32", "q8_0", "lora-gguf", "f32"], adapter: run.output + "/adapter")
        (options.name, options.threads) = ("tiny", 1)
        let export = try await FineTuning.export(model: model, output: output, options: options)
        #expect(export.files.map(\.form) == ["f32", "q8_0", "lora-gguf"])
        #expect(export.files.map(\.path) == ["tiny-F32.gguf", "tiny-Q8_0.gguf", "tiny-LoRA-F32.gguf"].map { output + "/" + $0 })
        for file in export.files { #expect(try RealFiles().byteCount(of: file.path) == Int(file.bytes), "\(file)") }
        #expect(try RealFiles().list(output).contains("Modelfile"))
        // The exported file answers as base and adapter do.
        let question = Generator.Question.text("say 1:")
        let own = try await Generator(model: model, adapter: run.output + "/adapter", baseStorage: "f32", device: "cpu", threads: 1)
            .answer(question, maxNewTokens: 8)
        let exported = try await Generator(model: export.files[0].path, baseStorage: "f32", device: "cpu", threads: 1).answer(question, maxNewTokens: 8)
        // Ids that the tokenizer has no text for are tokens of padding in a GGUF, as llama.cpp's converter writes them.
        #expect(own.text == exported.text.replacing(/\[PAD[0-9]+\]/, with: "") && own.newTokens == exported.newTokens)
        let directory = FineTuning.ExportOptions(forms: ["bnb-4bit"])
        let nf4 = try await FineTuning.export(model: model, output: run.folder + "/bnb", options: directory)
        #expect(nf4.files.map(\.path) == [run.folder + "/bnb"] && nf4.files[0].bytes > 0)
    }

    @Test func `an export that cannot be made says which option, and leaves nothing`() async throws {
        let run = try TinyRun()
        let (model, output) = (run.folder + "/model", run.folder + "/gguf")
        func refusal(_ change: (inout FineTuning.ExportOptions) -> Void) async -> LorikeetFailure? {
            var options = FineTuning.ExportOptions(forms: ["f16"])
            change(&options)
            return await failure { [options] () async throws(LorikeetFailure) in try await FineTuning.export(model: model, output: output, options: options) }
        }
        for (place, change) in [
            ("forms", { $0.forms = ["f16", "q9"] }), ("forms", { $0.forms = [] }), ("forms", { $0.forms = ["f16", "bnb-4bit"] }),
            ("forms", { $0.forms = ["lora-gguf"] }), ("into", { $0.into = "q4" }), ("dtype", { $0.dtype = "int3" }), ("name", { $0.name = "../x" }),
            ("threads", { $0.threads = -1 }),
        ] as [(String, (inout FineTuning.ExportOptions) -> Void)] {
            let refused = await refusal(change)
            #expect(refused?.kind == .invalidInput && refused?.place == place, "\(String(describing: refused))")
        }
        #expect(await refusal { $0.adapter = "/no/adapter/here" }?.kind == .unreadableFile)
        let absent = await failure { () async throws(LorikeetFailure) in
            try await FineTuning.export(model: "/none", output: output, options: .init(forms: ["f16"]))
        }
        #expect(absent?.kind == .unreadableFile)
        #expect(!FileManager.default.fileExists(atPath: output) && !FileManager.default.fileExists(atPath: output + ".partial"))
        try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        #expect(await refusal { _ in }?.kind == .invalidInput)
    }

    /// After the first tensor of each form, so that the folder under construction exists.
    @Test func `an export that is ended leaves nothing on the disk, whichever form it was at`() throws {
        let run = try TinyRun()
        for (forms, last) in [(["f16", "q8_0"], "q8_0"), (["f16"], "f16"), (["bnb-4bit"], "bnb-4bit")] {
            let output = run.folder + "/\(forms.joined())"
            let exporter = try Exporter(FineTuning.ExportOptions(forms: forms))
            var built = false
            let error = #expect(throws: LorikeetError.self) {
                try exporter.write(.init(named: "m", path: run.folder + "/model"), adapter: nil, to: output, warn: { _ in }) { form, _ in
                    guard form == last else { return }
                    built = FileManager.default.fileExists(atPath: output + ".partial")
                    throw LorikeetError(.stoppedEarly, "stopped")
                }
            }
            #expect(error?.exit == .stoppedEarly && built)
            #expect(try RealFiles().list(run.folder).filter { $0.hasPrefix(forms.joined()) } == [])
        }
    }

    // MARK: cancellation

    @Test func `a cancelled check or export is interrupted`() async throws {
        let run = try TinyRun()
        let tuning = try run.tuning()
        let (model, output) = (run.folder + "/model", run.folder + "/gguf")
        for number in 0..<2 {
            let task = Task { () -> LorikeetFailure.Kind? in
                withUnsafeCurrentTask { $0?.cancel() }
                return await failure { () async throws(LorikeetFailure) in
                    if number == 0 {
                        _ = try await tuning.check()
                    } else {
                        try await FineTuning.export(model: model, output: output, options: .init(forms: ["f16"]))
                    }
                }?.kind
            }
            #expect(await task.value == .interrupted)
        }
        #expect(try RealFiles().list(run.folder).filter { $0.hasPrefix("gguf") } == [])
        _ = try await FineTuning.export(model: model, output: output, options: .init(forms: ["f16"]))
    }
}
