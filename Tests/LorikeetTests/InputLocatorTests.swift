import Foundation
import HubServer
import LorikeetGround
import LorikeetHub
import LorikeetRecipe
import Testing

@testable import Lorikeet

/// What a name stands for: a path of this machine first, then the model or data set of a hub.
struct InputLocatorTests {
    /// A hub with the tiny model and its records, and a folder of their own.
    private struct Scene {
        let run: TinyRun
        let hub: LocalHub
        var variables: [String: String]
        static let commit = String(repeating: "c", count: 40)

        init() throws {
            run = try TinyRun()
            hub = try LocalHub([
                "models/org/tiny": Self.repository(run.folder + "/model", commit: Self.commit),
                "datasets/org/records": LocalHub.Repository(
                    commit: Self.commit, files: ["train.jsonl": Array(try Data(contentsOf: URL(fileURLWithPath: run.folder + "/train.jsonl")))]),
            ])
            variables = ["HF_ENDPOINT": hub.endpoint, "HF_HOME": run.folder + "/hf", "HOME": "/nowhere"]
        }

        static func repository(_ folder: String, commit: String) throws -> LocalHub.Repository {
            let names = try RealFiles().list(folder)
            let files = try names.map { ($0, Array(try Data(contentsOf: URL(fileURLWithPath: folder + "/" + $0)))) }
            return LocalHub.Repository(commit: commit, files: Dictionary(uniqueKeysWithValues: files), large: ["model.safetensors"])
        }

        var locator: InputLocator {
            var client = HubEnvironment(sleep: { _ in })
            client.connectSeconds = 2
            return InputLocator(variables: variables, client: client)
        }

        func pipeline(_ recipe: Recipe, stopAfter: Int? = nil) throws -> LorikeetError? {
            let heard = Heard()
            let stop: @Sendable () -> Bool = { stopAfter.map { heard.isTraining && heard.steps >= $0 } ?? false }
            let environment = PipelineEnvironment(sinks: [heard], shouldStop: stop, locator: locator)
            do {
                _ = try Pipeline(recipe: recipe, notes: [], goal: .adapter, environment: environment).run()
                return nil
            } catch let error as LorikeetError { return error }
        }

        func recipe(_ more: [String: String] = [:]) throws -> Recipe {
            let options = [
                "model": "org/tiny", "data": "hf://datasets/org/records", "output": run.output, "device": "cpu", "max-steps": "6", "eval-steps": "0",
                "save-steps": "1", "per-device-train-batch-size": "2", "gradient-accumulation-steps": "1", "preset": "full",
            ].merging(more) { $1 }
            return try Recipe.resolve(file: nil, options: options.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }).recipe
        }
    }

    @Test func `a path that exists is meant, whatever the hub has`() throws {
        let scene = try Scene()
        let own = scene.run.folder + "/model"
        #expect(try scene.locator.model(own) == .init(path: own))
        // A relative path of the same form as a hub's name: tests run in the package's folder.
        let relative = "Tests/Reference"
        #expect(HubName.looksLikeOne(relative))
        guard FileManager.default.fileExists(atPath: relative) else { return }
        _ = try? scene.locator.model(relative)
        #expect(scene.hub.requests.isEmpty)
    }

    @Test func `a name is fetched once, and said to be no file here`() throws {
        let scene = try Scene()
        let located = try scene.locator.model("org/tiny")
        #expect(located.path == "\(scene.run.folder)/hf/hub/models--org--tiny/snapshots/\(Scene.commit)")
        #expect(located.notes == ["'org/tiny' is no file or folder here: the model org/tiny of \(scene.hub.endpoint) is used, commit cccccccccccc"])
        let data = try scene.locator.data("org/records")
        #expect(data.path.hasSuffix("/datasets--org--records/snapshots/\(Scene.commit)/train.jsonl") && data.notes[0].contains("is no file or folder here"))
        #expect(try scene.locator.data("hf://datasets/org/records/train.jsonl").notes[0].hasPrefix("the data set org/records of"))
    }

    @Test func `what is neither is one sentence that says both were tried`() throws {
        var scene = try Scene()
        let missing = #expect(throws: LorikeetError.self) { try scene.locator.model("org/tinny") }
        #expect(missing?.exit == .unusableInput)
        #expect(
            missing?.what.hasPrefix("there is no file or folder of this name here, and the hub") == true
                && missing?.fix?.contains("did you mean org/tiny?") == true)
        #expect(#expect(throws: LorikeetError.self) { try scene.locator.data("org/recrods") }?.what.contains("no file or folder") == true)
        #expect(#expect(throws: LorikeetError.self) { try scene.locator.model("hf://datasets/org/records") }?.exit == .unusableInput)
        // A path is never asked for.
        let before = scene.hub.requests.count
        for path in ["./org/tiny", "/nowhere/model", "model.gguf", "a/model.gguf", "a/b/c"] { #expect(try scene.locator.model(path).path == path) }
        #expect(scene.hub.requests.count == before)
        scene.variables["HF_HUB_OFFLINE"] = "1"
        let offline = #expect(throws: LorikeetError.self) { try scene.locator.model("org/tiny") }
        #expect(offline?.exit == .unusableInput && offline?.what.contains("HF_HUB_OFFLINE") == true)
    }

    @Test func `a family that is not known is refused before its weights are fetched`() throws {
        let scene = try Scene()
        var other = try Scene.repository(scene.run.folder + "/model", commit: Scene.commit)
        other.files["config.json"] = Array(#"{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}"#.utf8)
        scene.hub.set("models/org/moe", other)
        let error = #expect(throws: LorikeetError.self) { try scene.locator.model("org/moe") }
        #expect(error?.exit == .unusableInput && error?.description.contains("mixtral") == true, "\(String(describing: error))")
        #expect(scene.hub.storage.requests.isEmpty)
    }

    @Test func `the model of a folder above it is found, as notebooks mount it`() throws {
        let scene = try Scene()
        let input = scene.run.folder + "/kaggle/input/qwen-3"
        try RealFiles().createDirectory(input + "/transformers/0.6b")
        try FileManager.default.copyItem(atPath: scene.run.folder + "/model", toPath: input + "/transformers/0.6b/1")
        #expect(try scene.locator.model(input).path == input + "/transformers/0.6b/1")
        #expect(try scene.locator.model(input + "/").notes == ["the model of \(input)/ is \(input)/transformers/0.6b/1"])
        try FileManager.default.copyItem(atPath: scene.run.folder + "/model", toPath: input + "/transformers/0.6b/2")
        let several = #expect(throws: LorikeetError.self) { try scene.locator.model(input) }
        #expect(several?.fix == "name one: \(input)/transformers/0.6b/1, \(input)/transformers/0.6b/2")
        // GGUF files, and a folder of the hub's cache.
        let ggufs = scene.run.folder + "/ggufs"
        try RealFiles().createDirectory(ggufs)
        for name in ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf", "mmproj.gguf"] { try RealFiles().writeDurably("x", to: "\(ggufs)/\(name)") }
        #expect(try scene.locator.model(ggufs).path == ggufs + "/m-Q4_0-00001-of-00002.gguf")
        try RealFiles().writeDurably("x", to: ggufs + "/m-Q8_0.gguf")
        #expect(#expect(throws: LorikeetError.self) { try scene.locator.model(ggufs) }?.exit == .unusableInput)
        let snapshot = try scene.locator.model("org/tiny").path
        #expect(try scene.locator.model(scene.run.folder + "/hf/hub/models--org--tiny").path == snapshot)
        // A folder without a model is left to the error that says so.
        try RealFiles().createDirectory(scene.run.folder + "/empty")
        #expect(try scene.locator.model(scene.run.folder + "/empty") == .init(path: scene.run.folder + "/empty"))
    }

    @Test func `records of a folder are found by their usual names`() throws {
        let scene = try Scene()
        let input = scene.run.folder + "/kaggle/input/records"
        try RealFiles().createDirectory(input + "/data")
        try RealFiles().writeDurably("{}\n", to: input + "/data/my-train.jsonl")
        try RealFiles().writeDurably("{}\n", to: input + "/data/my-valid.jsonl")
        let found = try scene.locator.data(input)
        #expect(found.path == input + "/data/my-train.jsonl" && found.validation == [input + "/data/my-valid.jsonl"] && found.notes.count == 1)
        #expect(try scene.locator.data(input + "/data/my-train.jsonl") == .init(path: input + "/data/my-train.jsonl"))
        // A folder that Dataset reads itself.
        try RealFiles().writeDurably("{}\n", to: input + "/train.jsonl")
        #expect(try scene.locator.data(input) == .init(path: input))
        let recipe = try scene.recipe(["data": input + "/data"])
        #expect(try scene.locator.locate(recipe).recipe.validation == [input + "/data/my-valid.jsonl"])
        #expect(
            try scene.locator.locate(scene.recipe(["data": input + "/data", "validation": input + "/train.jsonl"])).recipe.validation == [
                input + "/train.jsonl"
            ])
    }

    @Test func `a run from names keeps them, and goes on with the commit it began with`() throws {
        let scene = try Scene()
        #expect(try scene.pipeline(scene.recipe(), stopAfter: 2)?.exit == .stoppedEarly)
        // The hub moves on: another model under the same name.
        var next = try Scene.repository(scene.run.folder + "/model", commit: String(repeating: "d", count: 40))
        next.files["generation_config.json"] = Array(#"{"eos_token_id": 5}"#.utf8)
        scene.hub.set("models/org/tiny", next)
        #expect(try scene.pipeline(scene.recipe(), stopAfter: 2)?.exit == .stoppedEarly)
        // Another program adds a file to the snapshot, which is shared.
        try RealFiles().writeDurably("{}", to: "\(scene.run.folder)/hf/hub/models--org--tiny/snapshots/\(Scene.commit)/preprocessor_config.json")
        #expect(try scene.pipeline(scene.recipe()) == nil)
        let files = RealFiles()
        #expect(try files.readText(scene.run.output + "/run.yaml").contains("model: org/tiny"))
        #expect(try files.readText(scene.run.output + "/adapter/adapter_config.json").contains(#""base_model_name_or_path": "org/tiny""#))
        #expect(try files.readText(scene.run.output + "/inputs.json").contains(Scene.commit))
        #expect(try files.readText(scene.run.output + "/events.jsonl").contains("is no file or folder here"))
        // A new run takes what the hub has now.
        #expect(try scene.locator.model("org/tiny").path.hasSuffix(next.commit))
    }

    @Test func `a revision of the name is kept to`() throws {
        let scene = try Scene()
        _ = try scene.locator.model("org/tiny")
        scene.hub.set("models/org/tiny", try Scene.repository(scene.run.folder + "/model", commit: String(repeating: "d", count: 40)))
        var offline = scene
        offline.variables["HF_HUB_OFFLINE"] = "1"
        #expect(try offline.locator.model("org/tiny@" + Scene.commit).path.hasSuffix(Scene.commit))
        #expect(throws: LorikeetError.self) { try scene.locator.model("org/tiny@v2") }
    }
}
