import FailingFiles
import Foundation
import HubServer
import LorikeetGround
import Testing

@testable import LorikeetHub

/// The cache without a hub, and with several processes.
struct CacheTests {
    static let name = PullTests.name

    @Test func `offline, what was fetched is found and nobody is asked`() throws {
        let scene = try Scene(PullTests.model)
        let fetched = try scene.pull(Self.name)
        let before = scene.local.requests.count
        let offline = try scene.hub(["HF_HUB_OFFLINE": "1"])
        for name in [Self.name, "org/model@main", "org/model@" + Scene.commit] {
            let found = try offline.pull(HubName(name, kind: .model))
            #expect((found.folder, found.files, found.bytes) == (fetched.folder, fetched.files, fetched.bytes) && found.fetchedBytes == 0)
        }
        #expect(scene.local.requests.count == before)
    }

    @Test func `offline, what is missing is named`() throws {
        let scene = try Scene(PullTests.model)
        let offline = try scene.hub(["HF_HUB_OFFLINE": "1"])
        func refusal() -> LorikeetError? { #expect(throws: LorikeetError.self) { try offline.pull(HubName(Self.name, kind: .model)) } }
        #expect(refusal()?.exit == .unusableInput && scene.local.requests.isEmpty)
        let snapshot = try scene.pull(Self.name)
        // A content that is gone leaves a link that leads nowhere.
        let blob = "/models--org--model/blobs/" + LocalHub.sha256(Scene.model.files["model-00002-of-00002.safetensors"] ?? [])
        try RealFiles().remove(scene.cache + blob)
        #expect(refusal()?.what.contains("its file model-00002-of-00002.safetensors is not in the cache") == true)
        try RealFiles().remove(snapshot.folder + "/config.json")
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        try RealFiles().remove(snapshot.folder + "/config.json")
        #expect(refusal()?.what.contains("config.json is not in the cache") == true)
    }

    @Test func `a cached model is used, with a warning, where the hub cannot be asked`() throws {
        let scene = try Scene(PullTests.model)
        let fetched = try scene.pull(Self.name)
        for (status, words) in [(503, "status 503"), (401, "access to this model has to be granted")] {
            scene.local.change { _, _ in LocalHub.Response(status) }
            let before = scene.local.requests.count
            #expect(try scene.hub().find(HubName(Self.name, kind: .model)).folder == fetched.folder)
            #expect(scene.warnings.last?.contains("is taken from the cache (commit 0123456789ab)") == true && scene.warnings.last?.contains(words) == true)
            #expect(status == 401 || scene.local.requests.count == before + 1)
            // Who asks for the hub gets the hub's answer.
            #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        }
    }

    @Test func `a truncated content is fetched again`() throws {
        let scene = try Scene(PullTests.model)
        let snapshot = try scene.pull(Self.name)
        let place = snapshot.folder + "/" + PullTests.shard
        let blob = scene.cache + "/models--org--model/blobs/" + LocalHub.sha256(Scene.model.files[PullTests.shard] ?? [])
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: blob))
        #expect(try RealFiles().byteCount(of: place) == 3)
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
    }

    @Test func `two at the same time fetch each file once`() async throws {
        let scene = try Scene(PullTests.model) { request, response in
            var response = response
            if request.path.hasSuffix(".safetensors") { response.delay = 0.05 }
            return response
        }
        let variables = ["HF_HUB_CACHE": scene.cache, "HF_ENDPOINT": scene.local.endpoint]
        let folders = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<4 {
                group.addTask { try Hub(HubSettings(environment: variables)).pull(HubName(Self.name, kind: .model)).folder }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(folders.count == 1)
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.local.storage.requests.count == 2)
    }

    @Test func `a lock whose file was removed is taken anew`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-lock-" + UUID().uuidString).path
        var first = try FileLock.take(path) {}
        #expect(first != nil)
        var waits = 0
        let second = try FileLock.take(path) {
            waits += 1
            // As Python's filelock does when it lets go.
            if waits == 3 {
                try RealFiles().remove(path)
                first = nil
            }
        }
        #expect(second != nil && waits == 3 && FileManager.default.fileExists(atPath: path))
        // The new file is locked, not the removed one.
        #expect(throws: HTTPFailure.self) { try FileLock.take(path) { throw HTTPFailure.stopped } }
        try RealFiles().remove(path)
    }

    @Test func `a cache that may only be read serves what it holds`() throws {
        let scene = try Scene(PullTests.model)
        let fetched = try scene.pull(Self.name)
        scene.files = DyingFiles(last: 1, end: .failure)
        #expect(try scene.pull(Self.name).folder == fetched.folder)
    }

    @Test func `a GGUF of several is one file, and its parts are all of it`() throws {
        let files = [
            "README.md": Scene.bytes("x"), "m-Q4_0.gguf": Scene.bytes(5000), "m-Q8_0-00001-of-00002.gguf": Scene.bytes(6000),
            "m-Q8_0-00002-of-00002.gguf": Scene.bytes(7000, seed: 3),
        ]
        let repository = LocalHub.Repository(commit: Scene.commit, files: files, large: Set(files.keys.filter { $0.hasSuffix("gguf") }))
        let scene = try Scene(["models/org/m-GGUF": repository])
        let small = try scene.pull("org/m-GGUF:Q4_0")
        #expect(small.path == small.folder + "/m-Q4_0.gguf" && small.files == ["m-Q4_0.gguf"] && scene.local.storage.requests.count == 1)
        let split = try scene.pull("org/m-GGUF:Q8_0")
        #expect(split.path == split.folder + "/m-Q8_0-00001-of-00002.gguf" && split.files.count == 2)
        let offline = try scene.hub(["HF_HUB_OFFLINE": "1"])
        #expect(try offline.pull(HubName("org/m-GGUF:Q8_0", kind: .model)).path == split.path)
        #expect(throws: LorikeetError.self) { try scene.pull("org/m-GGUF") }
    }

    @Test func `a data set's records are fetched and found`() throws {
        let files = [
            "README.md": Scene.bytes("x"), "data/train.jsonl": Scene.bytes("{}\n"), "data/validation.jsonl": Scene.bytes("{ }\n"),
            "data/train.parquet": Scene.bytes("p"), "empty.txt": [],
        ]
        let scene = try Scene(["datasets/org/d": LocalHub.Repository(commit: Scene.commit, files: files, large: ["data/train.jsonl"])])
        let data = try scene.pull("org/d", .dataset)
        #expect(
            data.path == "\(scene.cache)/datasets--org--d/snapshots/\(Scene.commit)/data/train.jsonl"
                && data.validation == [data.folder + "/data/validation.jsonl"])
        #expect(scene.text(data.path) == "{}\n")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: data.path) == "../../../blobs/" + LocalHub.sha256(Scene.bytes("{}\n")))
        #expect(try scene.pull("hf://datasets/org/d/data/validation.jsonl").path.hasSuffix("/data/validation.jsonl"))
        #expect(try scene.hub(["HF_HUB_OFFLINE": "1"]).pull(HubName("org/d", kind: .dataset)).validation == data.validation)
    }

    @Test func `an error before the weights leaves them where they are`() throws {
        let scene = try Scene(PullTests.model)
        var hub = try scene.hub()
        hub.beforeWeights = { folder in throw LorikeetError.input("unknown family", at: folder + "/config.json") }
        let error = #expect(throws: LorikeetError.self) { try hub.pull(HubName(Self.name, kind: .model)) }
        #expect(error?.what == "unknown family" && scene.local.storage.requests.isEmpty)
    }
}
