import Foundation
import Testing

import Lorikeet

/// The library as a user sees it: nothing but what is public.
struct FineTuningTests {
    private var model: String? {
        let places: [String?] = [
            ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"],
            URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../.work/SmolLM2-135M-Instruct.Q4_1.gguf").path,
        ]
        let found = places.compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
        if found == nil { print("skipped: no SmolLM2 model; `make model` fetches it") }
        return found
    }

    private func options(_ model: String, _ more: [String: String]) throws -> [String: String] {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let record = #"{"prompt": "one two three", "completion": " four five"}"# + "\n"
        try String(repeating: record, count: 200).write(to: folder.appending(path: "train.jsonl"), atomically: true, encoding: .utf8)
        let options = [
            "model": model, "data": folder.appending(path: "train.jsonl").path, "output": folder.appending(path: "out").path, "max-length": "32",
            "gradient-accumulation-steps": "1", "save-steps": "1", "validation-share": "0.02", "test-samples": "1",
            "warmup-steps": "0", "learning-rate": "1e-3",
        ]
        return options.merging(more) { $1 }
    }

    @Test func `a run is a stream of events`() async throws {
        guard let model else { return }
        let cache = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: cache) }
        let tuning = try FineTuning(options: options(model, ["max-steps": "3"]), environment: ["XDG_CACHE_HOME": cache.path])
        #expect(try await tuning.plan().description.contains("memory in training"))
        // The samples are kept for the run, so that it need not make them again.
        func kept() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: cache.path + "/lorikeet/samples").sorted() }
        let samples = try kept()
        #expect(samples.count { $0.hasSuffix(".index") } == 1, "\(samples)")
        var names: [String] = []
        for try await event in tuning.run() { names.append(event.name) }
        #expect(names.last == "end" && names.contains("result") && names.contains("checkpoint"), "\(names)")
        #expect(names.count { $0 == "step" } == 3)
        #expect(try kept() == samples)
    }

    /// A run of 19,600 steps, so that it cannot end before a listener on a busy machine has read the second step.
    @Test func `stopping to listen saves the run, and the same recipe goes on`() async throws {
        guard let model else { return }
        let tuning = try FineTuning(
            options: options(model, ["num-train-epochs": "200"]), environment: ["XDG_CACHE_HOME": FileManager.default.temporaryDirectory.path])
        let first = tuning.run()
        for try await event in first where try step(of: event) == 2 { break }
        first.stop()
        let stopped = await #expect(throws: LorikeetFailure.self) { try await first.summary() }
        #expect(stopped?.kind == .interrupted)
        var resumedAt: Int?
        for try await event in tuning.run() {
            resumedAt = try step(of: event)
            if resumedAt != nil { break }
        }
        #expect(try #require(resumedAt) > 2)
    }

    /// The number of the step that the event reports; nil for any other event.
    private func step(of event: FineTuning.Event) throws -> Int? {
        guard event.name == "step" else { return nil }
        let object = try JSONSerialization.jsonObject(with: Data(event.json.utf8)) as? [String: Any]
        return object?["step"] as? Int
    }

    @Test func `errors say what, where and the fix, and have a kind`() {
        do {
            _ = try FineTuning(options: ["lora-rr": "8"])
            Issue.record("an unknown option was taken")
        } catch {
            // No cast: the initialiser says what it throws.
            switch error.kind {
            case .invalidInput: #expect(error.description.contains("did you mean --lora-r?"))
            default: Issue.record("\(error)")
            }
        }
    }

    @Test func `a generator answers`() async throws {
        guard let model else { return }
        let answer = try await Generator(model: model).answer(.messages([(role: "user", content: "Say hello.")]), maxNewTokens: 8)
        #expect(!answer.text.isEmpty)
    }
}
