import Foundation
import LorikeetGround
import Testing

@testable import Lorikeet

/// What files made of a model are called, and what is said of parts of a run that are not there.
struct ModelNameTests {
    private let files = RealFiles()
    private let folder = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path

    /// A run's output with these folders in it.
    private func run(_ name: String, model: String, parts: [String]) throws -> String {
        let output = "\(folder)/\(name)"
        for part in parts { try files.createDirectory("\(output)/\(part)") }
        try files.createDirectory(output)
        try files.writeDurably("model: \(model)\ndata: records.jsonl\n", to: output + "/run.yaml")
        try files.writeDurably("{}", to: output + "/plan.json")
        return output
    }

    @Test(arguments: [
        ("org/Base-1B", "Base-1B"), ("org/Base-1B@v2", "Base-1B"), ("org/Base-GGUF:Q4_K_M", "Base-GGUF"), ("models/Base.Q4_1.gguf", "Base"),
        ("models/Base-f16.gguf", "Base"), ("/models/base dir/", "base-dir"), ("...", "model"),
    ]) func `a path or a hub's name gives its last part`(model: String, name: String) { #expect(ModelName.of(model, files: files) == name) }

    @Test func `a part of a run has the name of the run's base, through runs that began with others`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = try run("first", model: "org/Base-1B", parts: ["merged", "mine"])
        let second = try run("second", model: first + "/merged", parts: ["merged", "bnb-4bit"])
        for part in [first + "/merged", second + "/merged/", second + "/bnb-4bit", second + "/../first/merged"] {
            #expect(ModelName.of(part, files: files) == "Base-1B", "\(part)")
        }
        #expect(ModelName.of(first + "/mine", files: files) == "mine")
        // Runs that name each other end somewhere.
        let circle = try run("circle", model: folder + "/circle/merged", parts: ["merged"])
        #expect(ModelName.of(circle + "/merged", files: files) == "merged")
    }

    @Test func `away from its run a merged folder has the name that its card gives its base, and in a hub's cache the hub's`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let moved = folder + "/elsewhere/merged"
        try files.createDirectory(moved)
        #expect(ModelName.of(moved, files: files) == "merged")
        try files.writeDurably("---\nbase_model: \"org/Base-1B\"\nlibrary_name: transformers\n---\n# Base\n", to: moved + "/README.md")
        #expect(ModelName.of(moved, files: files) == "Base-1B")
        let cached = folder + "/hub/models--org--Base-1B/snapshots/" + String(repeating: "c", count: 40)
        try files.createDirectory(cached)
        #expect(ModelName.of(cached, files: files) == "Base-1B")
    }

    @Test func `a part that a run has not made is told with the command that makes it`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let begun = try run("begun", model: "m", parts: [])
        let trained = try run("trained here", model: "m", parts: ["adapter"])
        let merged = try run("merged", model: "m", parts: ["adapter", "merged"])
        let resume = "finish it: lorikeet run --config '\(trained)/run.yaml' --output '\(trained)'"
        for (path, what, fix) in [
            (begun + "/adapter", "the run has not made its adapter yet", "finish it: lorikeet run --config \(begun)/run.yaml --output \(begun)"),
            (trained + "/merged/", "the run has made its adapter, and has not merged it", resume),
            (trained + "/gguf", "no GGUF file was exported", "finish the run, with an export: \(resume.dropFirst(11)) --export q8_0"),
            (merged + "/gguf", "no GGUF file was exported", "make it: lorikeet export --model \(merged)/merged --output \(merged)/gguf --form q8_0"),
            (merged + "/bnb-4bit", "the run has not exported this form", "--output \(merged)/bnb-4bit --form bnb-4bit"),
        ] {
            let error = try #require(MissingPart.error(at: path, files: files), "\(path)")
            #expect(error.what == what && error.fix?.contains(fix) == true && error.exit == .unusableInput, "\(error)")
        }
        for path in [merged + "/adapter", merged + "/other", folder + "/none/merged", "merged", ""] {
            #expect(MissingPart.error(at: path, files: files) == nil)
        }
        // What names the run or its part says so too, and asks no hub.
        let locator = InputLocator(files: files, variables: ["HF_ENDPOINT": "http://127.0.0.1:1"])
        for name in [trained, trained + "/merged"] {
            #expect(#expect(throws: LorikeetError.self) { try locator.model(name) }?.what == "the run has made its adapter, and has not merged it")
        }
        #expect(try locator.adapter(trained).path == trained + "/adapter")
        #expect(#expect(throws: LorikeetError.self) { try locator.adapter(begun) }?.what == "the run has not made its adapter yet")
    }
}
