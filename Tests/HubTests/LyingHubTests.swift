import Foundation
import FailingFiles
import HubServer
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetHub

/// What a hub says is held to what it sends; nothing that it says leads out of the cache.
struct LyingHubTests {
    static let name = PullTests.name
    static let shard = PullTests.shard

    /// Pulls from a hub that lies about the first shard, and expects exit 4, a sentence with `words`, and no such content in the cache.
    private func expect(
        _ words: String, sourceLocation: SourceLocation = #_sourceLocation,
        _ lie: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response
    ) throws {
        let scene = try Scene(PullTests.model) { $0.path.hasSuffix(Self.shard) ? lie($0, $1) : $1 }
        let error = #expect(throws: LorikeetError.self, sourceLocation: sourceLocation) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.description.contains(words) == true, "\(String(describing: error))", sourceLocation: sourceLocation)
        #expect(error?.place?.hasSuffix(Self.shard) == true, sourceLocation: sourceLocation)
        #expect(!scene.tree().contains { $0.hasSuffix(Self.shard) }, sourceLocation: sourceLocation)
        #expect(!scene.tree().contains("models--org--model/refs/main"), "a half-fetched commit is not the branch's", sourceLocation: sourceLocation)
    }

    @Test func `another content of the same size is refused`() throws {
        try expect("the content has the SHA-256") { request, response in
            var response = response
            if response.body.count > 1000 { response.body[500] ^= 1 }
            return response
        }
    }

    @Test func `a smaller or larger file than the hub says is refused`() throws {
        try expect("the server sends a file of 2999990 bytes, and the hub says 3000000") { _, response in
            var response = response
            if response.body.count > 1000 { response.body.removeLast(10) }
            return response
        }
        try expect("more bytes come than the 3000000 that the file has") { _, response in
            var response = response
            if response.body.count > 1000 { (response.saidLength, response.body) = (-1, response.body + Scene.bytes(50_000)) }
            return response
        }
    }

    @Test func `a hub that contradicts itself about size or hash is refused`() throws {
        try expect("the hub lists 3000000 bytes and answers with 17") { _, response in
            var response = response
            if response.status == 302 { response.headers["X-Linked-Size"] = "17" }
            return response
        }
        try expect("and answers with") { _, response in
            var response = response
            if response.status == 302 { response.headers["X-Linked-Etag"] = String(repeating: "a", count: 64) }
            return response
        }
    }

    @Test func `a small file is held to git's hash`() throws {
        let scene = try Scene(PullTests.model) { request, response in
            var response = response
            if request.method == "GET", request.path.hasSuffix("tokenizer.json") { response.body[2] ^= 1 }
            return response
        }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.what.contains("git's SHA-1") == true)
        #expect(scene.local.hub.requests.count { $0.method == "GET" && $0.path.hasSuffix("tokenizer.json") } == 3)
    }

    @Test func `a damaged file that is sound the second time is kept, with a warning`() throws {
        let scene = try Scene(PullTests.model) { request, response in
            var response = response
            if request.path.hasSuffix(Self.shard), request.earlier == 0, response.body.count > 1000 { response.body[500] ^= 1 }
            return response
        }
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.warnings.count == 1 && scene.warnings[0].contains("fetched again from its beginning"))
    }

    @Test(arguments: [
        "../../../../tmp/lorikeet-evil", "/tmp/lorikeet-evil", "a/../../b", "a\\..\\b", "a\u{0}b", "..", "x/.", "a//b", "..\u{2F}\u{308}/x", "",
    ])
    func `a file name that leads out of the cache refuses the whole listing`(path: String) throws {
        var repository = Scene.model
        repository.files[path] = Scene.bytes("evil")
        let scene = try Scene(["models/org/model": repository])
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .unusableInput && error?.what.contains("would lead out of the cache") == true, "\(String(describing: error))")
        #expect(scene.tree().isEmpty && !FileManager.default.fileExists(atPath: "/tmp/lorikeet-evil"))
    }

    @Test func `a shard that the index places elsewhere is refused`() throws {
        for path in [
            "../../../x.safetensors", "/etc/passwd", "sub/x.safetensors", "sub/\u{338}x.safetensors", "../\u{338}x.safetensors", "..", "not-listed.safetensors",
        ] {
            var repository = Scene.model
            repository.files["model.safetensors.index.json"] = Array((["weight_map": ["a": .string(path)]] as JSON).serialized().utf8)
            let scene = try Scene(["models/org/model": repository])
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .unusableInput, "\(path): \(String(describing: error))")
            #expect(!scene.local.requests.contains { $0.path.contains("passwd") || $0.path.hasSuffix(".safetensors") })
        }
    }

    @Test func `a commit or tag that is a path is refused`() throws {
        for commit in ["../../x", "a/b", "", "..", ".hidden", "x y"] {
            var repository = Scene.model
            repository.commit = commit
            let scene = try Scene(["models/org/model": repository])
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .unusableInput && scene.tree().isEmpty, "\(commit): \(String(describing: error))")
        }
        for tag in ["../../../x", "a/b", ""] {
            let scene = try Scene(PullTests.model, listsNamesOnly: true) { request, response in
                var response = response
                if request.method == "HEAD" { response.headers["ETag"] = "\"\(tag)\"" }
                return response
            }
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .machineFailed && scene.tree().isEmpty, "\(tag): \(String(describing: error))")
        }
    }

    @Test func `an answer that is no listing is refused in one sentence`() throws {
        for body in ["[]", "{}", #"{"sha": 3, "siblings": []}"#, #"{"sha": "abc", "siblings": [{"name": "x"}]}"#, #"{"sha": "abc"}"#] {
            let scene = try Scene(PullTests.model) { _, _ in LocalHub.Response(200, Scene.bytes(body)) }
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .unusableInput && scene.tree().isEmpty, "\(body): \(String(describing: error))")
        }
    }

    @Test func `a page in the hub's place is told as one, with the address that sent it`() throws {
        for page in ["<html>login</html>", "\u{FEFF}\n <!DOCTYPE HTML>\n<title>Sign in</title>"] {
            let scene = try Scene(PullTests.model) { request, response in
                // A network that asks for a sign-in leads every address to its own page.
                request.path == "/login" ? LocalHub.Response(200, Scene.bytes(page)) : LocalHub.Response(302, headers: ["Location": "/login?back=secret"])
            }
            let error = try #require(#expect(throws: LorikeetError.self) { try scene.pull(Self.name) })
            #expect(error.exit == .machineFailed && error.kind == .network && scene.tree().isEmpty, "\(error)")
            #expect(error.what == "the hub's answer is a web page and not JSON, from \(scene.local.endpoint)/login" && error.place == Self.name, "\(error)")
        }
        let scene = try Scene(PullTests.model) { _, _ in LocalHub.Response(200, []) }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.what.contains("the hub's answer cannot be used (it is no JSON") == true, "\(String(describing: error))")
    }

    @Test func `a hub that takes the connection and says nothing is asked once, and not for minutes`() throws {
        let silent = try Scene(PullTests.model) { _, response in
            var response = response
            response.delay = 4
            return response
        }
        (silent.answerSeconds, silent.stalledSeconds) = (1, 60)
        let error = try #require(#expect(throws: LorikeetError.self) { try silent.pull(Self.name) })
        #expect(error.exit == .machineFailed && error.kind == .network && error.what == "\(silent.local.endpoint) has not answered within 1 s", "\(error)")
        #expect(silent.waits == 0 && silent.local.requests.count <= 1)
        // A hub that has answered may take longer over another answer.
        let slow = try Scene(PullTests.model) { request, response in
            var response = response
            if request.path.hasSuffix("config.json"), request.earlier == 0 { response.delay = 2.5 }
            return response
        }
        (slow.answerSeconds, slow.stalledSeconds) = (1, 60)
        try PullTests.expectWhole(slow.pull(Self.name), slow)
        #expect(slow.waits == 0)
    }

    @Test func `a disk that is too small is exit 3 before anything comes`() throws {
        let scene = try Scene(PullTests.model)
        scene.files = FullDisk(bytes: (64 << 20) + 4_000_000)
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .doesNotFit && error?.description.contains("HF_HOME") == true, "\(String(describing: error))")
        #expect(scene.local.storage.requests.isEmpty)
        // What an earlier attempt left need not be fetched.
        scene.files = FullDisk(bytes: (64 << 20) + 5_000_000)
        _ = try scene.pull(Self.name)
    }

    @Test func `a disk that fills up is exit 4, and the same command goes on`() throws {
        let scene = try Scene(PullTests.model, listsNamesOnly: true) { request, response in
            var response = response
            // Nobody says how large the shard is, so that the disk cannot be checked before.
            response.headers["X-Linked-Size"] = nil
            return response
        }
        scene.files = FullDisk(bytes: 2_000_000, said: 1 << 40)
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .machineFailed && error?.what == "the disk is full")
        scene.files = RealFiles()
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        #expect(scene.local.storage.requests.contains { $0.headers["range"] != nil })
    }

    @Test(arguments: DyingFiles.End.allCases) func `a download that ends at any change of the disk goes on`(end: DyingFiles.End) throws {
        var small = Scene.model
        small.files = small.files.mapValues { Array($0.prefix(20_000)) }
        // Two large and two small files are enough to meet every kind of change.
        small.files = small.files.filter { ["config.json", "tokenizer.json", ModelChoice.index].contains($0.key) || small.large.contains($0.key) }
        for last in 1...400 {
            let scene = try Scene(["models/org/model": small])
            let dying = DyingFiles(last: last, end: end)
            scene.files = dying
            _ = try? scene.pull(Self.name)
            scene.files = RealFiles()
            try PullTests.expectWhole(
                try scene.pull(Self.name), scene, small, small.files.keys.filter { ModelChoice.isNeeded($0) || $0.hasPrefix("model-") }.sorted())
            if !dying.ended { return }
        }
        Issue.record("the download makes more than 400 changes")
    }
}
