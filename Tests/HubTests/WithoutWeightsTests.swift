import Foundation
import HubServer
import LorikeetGround
import Testing

@testable import LorikeetHub

/// A model whose weights stay on the hub: parts of them can be read.
struct WithoutWeightsTests {
    private static let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

    private func scene(_ change: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response = { $1 }) throws -> Scene {
        try Scene(["models/org/model": Scene.model], change: change)
    }

    private func find(_ scene: Scene, _ name: String = "org/model") throws -> (snapshot: HubSnapshot, unfetched: [UnfetchedFile]) {
        try scene.hub().findWithoutWeights(HubName(name, kind: .model))
    }

    @Test func `the small files are fetched, and any part of the weights can be read`() throws {
        let scene = try scene()
        scene.variables["HF_TOKEN"] = "hf_secret"
        let (snapshot, unfetched) = try find(scene)
        #expect(unfetched.map(\.path) == Self.shards.map { snapshot.folder + "/" + $0 } && unfetched.map(\.byteCount) == [3_000_000, 1_200_000])
        let small = Scene.neededOfModel.filter { !$0.hasPrefix("model-") }
        #expect(scene.tree().filter { $0.contains("snapshots/") }.count == small.count)
        #expect(!scene.tree().contains { $0.contains("refs/") || $0.hasSuffix(".incomplete") })
        for (file, name) in zip(unfetched, Self.shards) {
            let whole = try #require(Scene.model.files[name])
            for range in [0..<1, 0..<65536, 100_000..<100_007, whole.count - 1..<whole.count, 0..<whole.count] {
                #expect(try file.read(range) == Array(whole[range]), "\(range)")
            }
        }
        #expect(!scene.tree().contains { $0.hasSuffix("safetensors") })
        #expect(scene.local.storage.requests.allSatisfy { $0.headers["authorization"] == nil && $0.headers["range"] != nil })
        #expect(scene.events.contains(.headers(name: "org/model", files: 2)))
        // A later pull fetches them, and then there is nothing left.
        try PullTests.expectWhole(try scene.pull("org/model"), scene)
        #expect(try find(scene).unfetched.isEmpty)
    }

    @Test func `a GGUF, and one of its parts that is there already`() throws {
        var repository = Scene.model
        repository.files = ["m-Q4_0-00001-of-00002.gguf": Scene.bytes(70_000), "m-Q4_0-00002-of-00002.gguf": Scene.bytes(80_000, seed: 4)]
        repository.large = Set(repository.files.keys)
        let scene = try Scene(["models/org/gguf": repository])
        let (snapshot, unfetched) = try find(scene, "org/gguf")
        #expect(snapshot.path == snapshot.folder + "/m-Q4_0-00001-of-00002.gguf" && unfetched.map(\.byteCount) == [70_000, 80_000])
        _ = try scene.pull("org/gguf")
        try RealFiles().remove(snapshot.folder + "/m-Q4_0-00001-of-00002.gguf")
        #expect(try find(scene, "org/gguf").unfetched.map(\.path) == [snapshot.path])
    }

    @Test func `a server that sends whole files, breaks off or sends something else`() throws {
        let whole = try #require(Scene.model.files[Self.shards[0]])
        let scene = try scene()
        let file = try find(scene).unfetched[0]
        scene.local.change { request, response in
            guard request.path.hasSuffix("safetensors"), response.status == 206 else { return response }
            return LocalHub.Response(200, whole)
        }
        #expect(try file.read(1000..<2000) == Array(whole[1000..<2000]))
        // Broken once, then right.
        scene.local.change { request, response in
            guard request.path.hasSuffix("safetensors"), response.status == 206, request.earlier % 2 == 0 else { return response }
            var broken = response
            broken.breaksAfter = 10
            return broken
        }
        #expect(try file.read(5000..<9000) == Array(whole[5000..<9000]))
        // Another part, fewer bytes, nothing of the kind.
        for answer in [
            LocalHub.Response(206, [1, 2, 3], headers: ["Content-Range": "bytes 7-9/3000000"]),
            LocalHub.Response(206, [1, 2, 3], headers: ["Content-Range": "bytes 5000-5002/3000000"]), LocalHub.Response(404), LocalHub.Response(416),
        ] {
            scene.local.change { request, response in request.path.hasSuffix("safetensors") && response.status == 206 ? answer : response }
            let error = #expect(throws: LorikeetError.self) { try file.read(5000..<9000) }
            #expect(error?.exit == .machineFailed && error?.place?.contains("org/model") == true, "\(String(describing: error))")
        }
    }

    @Test func `without a hub, what the cache has is used or refused as it is`() throws {
        let scene = try scene()
        let offline = try scene.hub(["HF_HUB_OFFLINE": "1"])
        _ = try find(scene)
        let name = try HubName("org/model@" + Scene.commit, kind: .model)
        let absent = #expect(throws: LorikeetError.self) { try offline.findWithoutWeights(name) }
        #expect(absent?.exit == .unusableInput && absent?.what.contains("is not in the cache") == true, "\(String(describing: absent))")
        _ = try scene.pull("org/model")
        #expect(try offline.findWithoutWeights(name).unfetched.isEmpty)
        // A hub that is down.
        let down = try scene.hub(["HF_ENDPOINT": "http://127.0.0.1:1"])
        #expect(
            try down.findWithoutWeights(HubName("org/model", kind: .model)).unfetched.isEmpty
                && scene.warnings.contains { $0.contains("is taken from the cache") })
    }

    @Test func `a name that the hub has of the other kind is said to be so`() throws {
        let scene = try Scene([
            "models/org/model": Scene.model, "datasets/org/records": .init(commit: Scene.commit, files: ["train.jsonl": Scene.bytes("{}")]),
        ])
        let model = #expect(throws: LorikeetError.self) { try scene.pull("org/records") }
        #expect(model?.what.hasSuffix("has no model of this name, but a data set") == true && model?.fix?.contains("--dataset") == true)
        let data = #expect(throws: LorikeetError.self) { try scene.pull("org/model", .dataset) }
        #expect(data?.what.hasSuffix("has no data set of this name, but a model") == true, "\(String(describing: data))")
    }
}
