import Foundation
import HubServer
import LorikeetGround
import Testing

@testable import LorikeetHub

struct PullTests {
    static let name = "org/model"
    static let shard = "model-00001-of-00002.safetensors"
    static let model = ["models/org/model": Scene.model]

    /// Every needed file is in the snapshot with its bytes, as a link to a content of its hash.
    static func expectWhole(
        _ snapshot: HubSnapshot, _ scene: Scene, _ repository: LocalHub.Repository = Scene.model, _ needed: [String] = Scene.neededOfModel,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        #expect(snapshot.files == needed, sourceLocation: sourceLocation)
        for path in snapshot.files {
            let expected = try #require(repository.files[path])
            let place = snapshot.folder + "/" + path
            #expect(try RealFiles().read(place) == expected, "\(path)", sourceLocation: sourceLocation)
            let tag = repository.large.contains(path) ? LocalHub.sha256(expected) : LocalHub.gitHash(expected)
            let up = String(repeating: "../", count: 2 + path.count { $0 == "/" })
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: place) == up + "blobs/" + tag, "\(path)", sourceLocation: sourceLocation)
        }
        #expect(!scene.tree().contains { $0.hasSuffix(".incomplete") || $0.contains("partial") }, sourceLocation: sourceLocation)
    }

    @Test func `a model is fetched into the layout that Python's cache has, and no file beyond those needed`() throws {
        let scene = try Scene(Self.model)
        let snapshot = try scene.pull(Self.name)
        let folder = scene.cache + "/models--org--model"
        #expect(snapshot.folder == "\(folder)/snapshots/\(Scene.commit)" && snapshot.path == snapshot.folder && snapshot.commit == Scene.commit)
        #expect(scene.text(folder + "/refs/main") == Scene.commit)
        try Self.expectWhole(snapshot, scene)
        let blobs = try RealFiles().list(folder + "/blobs")
        #expect(scene.tree().count == blobs.count + Scene.neededOfModel.count + 1)
        let asked = Set(scene.local.storage.requests.map(\.path))
        #expect(asked == Set(["00001", "00002"].map { "/models/org/model/model-\($0)-of-00002.safetensors" }))
        #expect(snapshot.fetchedBytes == snapshot.bytes - 2 * 2, "three files of '{}' are one content")
    }

    @Test func `what is there is not fetched again`() throws {
        let scene = try Scene(Self.model)
        _ = try scene.pull(Self.name)
        let before = scene.local.requests.count
        let again = try scene.pull(Self.name)
        #expect(again.fetchedBytes == 0 && scene.local.requests.count == before + 1)
        try Self.expectWhole(again, scene)
        // Another revision with one changed file brings that file.
        var next = Scene.model
        next.commit = String(repeating: "f", count: 40)
        next.files["config.json"] = Scene.bytes(#"{"new": 1}"#)
        scene.local.set("models/org/model", next)
        let newer = try scene.pull(Self.name)
        #expect(newer.fetchedBytes == 10 && newer.commit == next.commit)
        try Self.expectWhole(newer, scene, next)
        #expect(scene.text(scene.cache + "/models--org--model/refs/main") == next.commit)
        // The older one is still there by its commit.
        #expect(try scene.hub(["HF_HUB_OFFLINE": "1"]).pull(HubName("org/model@" + Scene.commit, kind: .model)).commit == Scene.commit)
    }

    @Test func `a small hub that lists names alone is enough`() throws {
        let scene = try Scene(Self.model, listsNamesOnly: true)
        try Self.expectWhole(try scene.pull(Self.name), scene)
    }

    @Test func `a hub without HEAD, and without queries, is enough`() throws {
        for listsNamesOnly in [true, false] {
            let scene = try Scene(Self.model, listsNamesOnly: listsNamesOnly) { request, response in
                request.method == "HEAD" ? LocalHub.Response(501) : request.target.contains("blobs=") ? LocalHub.Response(404) : response
            }
            try Self.expectWhole(try scene.pull(Self.name), scene)
        }
    }

    @Test func `a hub without revisions answers for the main branch`() throws {
        let scene = try Scene(Self.model) { request, response in
            request.path.contains("/revision/") ? LocalHub.Response(404, Scene.bytes("nothing here")) : response
        }
        try Self.expectWhole(try scene.pull(Self.name), scene)
    }

    @Test func `a connection that breaks is gone on with where it broke`() throws {
        let scene = try Scene(Self.model) { request, response in
            var response = response
            if request.path.hasSuffix(Self.shard), response.status == 200 || response.status == 206, request.method == "GET", response.body.count > 700_000 {
                response.breaksAfter = 600_000
            }
            return response
        }
        try Self.expectWhole(try scene.pull(Self.name), scene)
        let ranges = scene.local.storage.requests.filter { $0.path.hasSuffix(Self.shard) }.map { $0.headers["range"] }
        #expect(ranges == [nil, "bytes=600000-", "bytes=1200000-", "bytes=1800000-", "bytes=2400000-"])
        #expect(scene.waits == 4)
    }

    @Test func `a file without a length that ends early is gone on with`() throws {
        let scene = try Scene(Self.model) { request, response in
            var response = response
            if request.path.hasSuffix(Self.shard), request.method == "GET", response.status == 200, !response.body.isEmpty {
                (response.saidLength, response.body) = (-1, Array(response.body.prefix(1000)))
            }
            return response
        }
        try Self.expectWhole(try scene.pull(Self.name), scene)
    }

    @Test func `a connection that never brings anything ends with exit 4 and keeps what came`() throws {
        let scene = try Scene(Self.model) { request, response in
            var response = response
            if request.path.hasSuffix(Self.shard), request.method == "GET", response.status != 302 {
                response.breaksAfter = request.headers["range"] == nil ? 5000 : 0
            }
            return response
        }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.place == "org/model/" + Self.shard, "\(String(describing: error))")
        #expect(error?.description.contains("what has come is kept") == true)
        let partial = scene.tree().filter { $0.hasSuffix(".incomplete") }
        #expect(partial == ["models--org--model/blobs/\(LocalHub.sha256(Scene.model.files[Self.shard] ?? [])).incomplete"])
        // The same command, on a sound connection, asks for the rest.
        scene.local.change { $1 }
        try Self.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.local.storage.requests.last { $0.path.hasSuffix(Self.shard) }?.headers["range"] == "bytes=5000-")
        #expect(scene.events.contains(.resumed(file: "org/model/" + Self.shard, at: 5000)))
    }

    @Test(arguments: ["damaged", "too long", "complete"]) func `a partial file of an earlier attempt is checked`(kind: String) throws {
        let scene = try Scene(Self.model)
        let bytes = try #require(Scene.model.files[Self.shard])
        let blobs = scene.cache + "/models--org--model/blobs"
        try RealFiles().createDirectory(blobs)
        let kept: [UInt8] = kind == "damaged" ? Scene.bytes(1_000_000, seed: 77) : kind == "complete" ? bytes : bytes + [1, 2, 3]
        try RealFiles().writeDurably(kept, to: "\(blobs)/\(LocalHub.sha256(bytes)).incomplete")
        try Self.expectWhole(try scene.pull(Self.name), scene)
        let gets = scene.local.storage.requests.filter { $0.path.hasSuffix(Self.shard) }
        #expect(gets.map { $0.headers["range"] } == (kind == "damaged" ? ["bytes=1000000-", nil] : kind == "complete" ? [] : [nil]))
    }

    @Test func `a server that knows no ranges sends the whole file, and 416 starts again`() throws {
        for answer in [200, 416] {
            let scene = try Scene(Self.model) { request, response in
                guard request.headers["range"] != nil else { return response }
                return answer == 416 ? LocalHub.Response(416) : LocalHub.Response(200, Scene.model.files[Self.shard] ?? [])
            }
            let bytes = try #require(Scene.model.files[Self.shard])
            let blobs = scene.cache + "/models--org--model/blobs"
            try RealFiles().createDirectory(blobs)
            try RealFiles().writeDurably(Array(bytes.prefix(500_000)), to: "\(blobs)/\(LocalHub.sha256(bytes)).incomplete")
            try Self.expectWhole(try scene.pull(Self.name), scene)
        }
    }

    @Test func `another part than was asked for starts again`() throws {
        let scene = try Scene(Self.model) { request, response in
            guard request.headers["range"] != nil else { return response }
            var response = response
            response.headers["Content-Range"] = "bytes 7-\(response.body.count + 6)/3000000"
            return response
        }
        let bytes = try #require(Scene.model.files[Self.shard])
        let blobs = scene.cache + "/models--org--model/blobs"
        try RealFiles().createDirectory(blobs)
        try RealFiles().writeDurably(Array(bytes.prefix(500_000)), to: "\(blobs)/\(LocalHub.sha256(bytes)).incomplete")
        try Self.expectWhole(try scene.pull(Self.name), scene)
    }

    @Test func `busy and failing servers are asked again, after as long as they say`() throws {
        let scene = try Scene(Self.model) { request, response in
            switch (request.path.hasSuffix("config.json"), request.earlier) {
            case (true, 0): LocalHub.Response(429, headers: ["Retry-After": "7"])
            case (true, 1): LocalHub.Response(503)
            default: request.path.contains("/api/") && request.earlier == 0 ? LocalHub.Response(500) : response
            }
        }
        try Self.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.events.contains(.waiting(what: "org/model/config.json", why: "the hub answers with status 429", seconds: 7)))
        #expect(scene.slept > 7)
        // A date, and a wait that nobody sits out.
        let patient = try Scene(Self.model) { request, _ in
            LocalHub.Response(429, headers: ["Retry-After": request.earlier == 0 ? "Wed, 21 Oct 2015 07:28:00 GMT" : "86400"])
        }
        let error = #expect(throws: LorikeetError.self) { try patient.pull(Self.name) }
        #expect(patient.local.hub.requests.count == 2 && error?.exit == .machineFailed && error?.what.contains("Retry-After: 86400") == true)
    }

    @Test func `a server that keeps failing is given up with exit 4`() throws {
        let scene = try Scene(Self.model) { _, _ in LocalHub.Response(502) }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.what.contains("status 502") == true && scene.local.requests.count == 5)
        #expect(scene.tree().isEmpty)
    }

    @Test func `a hub that is not there is exit 4 with the connection's words`() throws {
        let scene = try Scene(Self.model)
        scene.variables["HF_ENDPOINT"] = "http://127.0.0.1:1"
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.what.contains("http://127.0.0.1:1 cannot be reached") == true)
        #expect(scene.waits == 1)
    }

    @Test func `a machine without libcurl is told how to get it`() throws {
        let error = #expect(throws: LorikeetError.self) { _ = try HTTPSession(libraries: ["libcurl.so.nothere"]) }
        #expect(error?.exit == .machineFailed && error?.description.contains("apt-get install -y libcurl4") == true)
        for library in HTTPSession.libraries.prefix(2) where FileManager.default.fileExists(atPath: "/usr/lib/x86_64-linux-gnu/" + library) {
            _ = try HTTPSession(libraries: [library])
        }
    }

    @Test func `a stop keeps what has come and is exit 75`() throws {
        let scene = try Scene(Self.model) { request, response in
            var response = response
            if request.path.hasSuffix(Self.shard), request.earlier == 0, response.body.count > 1000 { (response.delay, response.delaysHalf) = (3, true) }
            return response
        }
        var stop = false
        scene.shouldStop = { [weak scene] in
            if case .progress(let file, let done, _, _, _)? = scene?.events.last, file.hasSuffix(Self.shard), done > 0 { stop = true }
            return stop
        }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .stoppedEarly && error?.fix == "run the same command again")
        #expect(scene.tree().contains { $0.hasSuffix(".incomplete") })
        scene.shouldStop = { false }
        try Self.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.local.storage.requests.contains { $0.headers["range"] != nil })
    }
}
