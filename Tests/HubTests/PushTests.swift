import Foundation
import HubServer
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetHub

/// Uploads, against a hub on this machine that fails on demand.
struct PushTests {
    private let files = RealFiles()
    private static let weights = Scene.bytes(300_000)

    /// A model's folder: a large file and small ones.
    private func folder(_ more: [String: [UInt8]] = [:]) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-push-" + UUID().uuidString).path
        let all = [
            "config.json": Scene.bytes("{}"), "model.safetensors": Self.weights, "README.md": Scene.bytes("# m"), "empty.txt": [],
            "additional_chat_templates/tools.jinja": Scene.bytes("{{ x }}"),
        ].merging(more) { $1 }
        // In order: a file is written under the name that one of the tests gives to a half-written one.
        for (name, bytes) in all.sorted(by: { $0.key < $1.key }) {
            try files.createDirectory(RealFiles.parent(of: path + "/" + name))
            try files.writeDurably(bytes, to: path + "/" + name)
        }
        return path
    }

    private func push(_ scene: Scene, _ folder: String, to name: String = "me/m", isPrivate: Bool = false) throws -> PushResult {
        try scene.hub(["HF_TOKEN": "hf_secret"]).push(
            PushFolder(folder, disk: files), to: HubName(name, kind: .model), isPrivate: isPrivate, summary: "s")
    }

    private func error(_ scene: Scene, _ folder: String, to name: String = "me/m", isPrivate: Bool = false) throws -> LorikeetError {
        try #require(#expect(throws: LorikeetError.self) { try push(scene, folder, to: name, isPrivate: isPrivate) })
    }

    @Test func `an answer that is no JSON is exit 4 and not the user's text`() throws {
        let page = "the hub's answer is a web page and not JSON, from http://"
        for (body, words) in [("<html>log in</html>", page), ("{", "(it is no JSON"), ("\u{0}", "(it is no JSON")] {
            let scene = try Scene([:]) { $0.method == "POST" ? .init(200, Scene.bytes(body)) : $1 }
            let error = try error(scene, folder())
            #expect(error.exit == .machineFailed && error.what.contains(words), "\(error)")
        }
    }

    @Test func `a hub that says nothing is told soon, and nothing is uploaded`() throws {
        let scene = try Scene([:]) { _, response in
            var response = response
            response.delay = 4
            return response
        }
        (scene.answerSeconds, scene.stalledSeconds) = (1, 60)
        let error = try error(scene, folder())
        #expect(error.exit == .machineFailed && error.what == "\(scene.local.endpoint) has not answered within 1 s", "\(error)")
        #expect(scene.waits == 0 && puts(scene) == 0 && commits(scene) == 0)
    }

    private func content(_ folder: String) throws -> [String: [UInt8]] {
        Dictionary(uniqueKeysWithValues: try PushFolder(folder, disk: files).files.map { ($0.path, try files.read($0.place)) })
    }

    private func puts(_ scene: Scene) -> Int { scene.local.requests.count { $0.method == "PUT" } }
    private func commits(_ scene: Scene) -> Int { scene.local.requests.count { $0.path.contains("/commit/") } }

    // MARK: what arrives

    @Test(arguments: [nil, 100_000, 299_999, 1_000_000] as [Int?], [true, false])
    func `a folder arrives byte for byte, whole or in parts, and pull gets it`(chunk: Int?, verifies: Bool) throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { ($0.chunk, $0.verifies) = (chunk, verifies) }
        let result = try push(scene, folder)
        let there = try #require(scene.local.repository("models/me/m"))
        #expect(try there.files == content(folder) && there.large == ["model.safetensors"])
        #expect(result.commit == there.commit && result.sentBytes == 300_000 && result.changed.count == 5 && result.removed.isEmpty)
        #expect(scene.local.requests.contains { $0.path.hasPrefix("/lfs/verify/") } == verifies)
        #expect(puts(scene) == (chunk.map { (300_000 + $0 - 1) / $0 } ?? 1))
        let pulled = try scene.pull("me/m")
        #expect(try files.read(pulled.folder + "/model.safetensors") == Self.weights)
        // The same again: nothing is sent, and there is no empty commit.
        let again = try push(scene, folder)
        #expect(again.changed.isEmpty && again.sentBytes == 0 && again.commit == nil && commits(scene) == 1)
        // A changed small file is a commit of that alone.
        try files.writeDurably("# other", to: folder + "/README.md")
        #expect(try push(scene, folder).changed == ["README.md"] && scene.local.repository("models/me/m")?.files["README.md"] == Scene.bytes("# other"))
        #expect(puts(scene) == (chunk.map { (300_000 + $0 - 1) / $0 } ?? 1))
    }

    @Test func `shards that a new model leaves behind are taken out, and nothing else is`() throws {
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "notes.md", "x.safetensors"]
        let old = LocalHub.Repository(commit: Scene.commit, files: Dictionary(uniqueKeysWithValues: names.map { ($0, Scene.bytes("x")) }))
        let scene = try Scene(["models/me/m": old])
        #expect(try push(scene, folder()).removed == Array(names.prefix(3)))
        let there = try #require(scene.local.repository("models/me/m")).files.keys
        #expect(there.contains("notes.md") && there.contains("x.safetensors") && !there.contains(names[0]) && !there.contains(names[2]))
    }

    @Test func `what the repository's gitignore excludes is named and left out`() throws {
        let (scene, folder) = (try Scene([:]), try folder(["a.ignored.txt": Scene.bytes("x")]))
        _ = try push(scene, folder)
        #expect(scene.warnings.contains { $0.contains("a.ignored.txt is left out") } && scene.local.repository("models/me/m")?.files["a.ignored.txt"] == nil)
    }

    @Test func `a private repository is made private, and nothing goes to a public one that was to be private`() throws {
        let (scene, folder) = (try Scene([:]), try folder())
        _ = try push(scene, folder, isPrivate: true)
        #expect(scene.local.repository("models/me/m")?.isPrivate == true)
        _ = try push(scene, folder, to: "me/open")
        for name in ["me/open", "me/other"] {
            // The second: a hub that does not know how privacy is asked for.
            scene.local.uploads { $0.ignoresPrivate = name == "me/other" }
            let before = (puts(scene), commits(scene))
            let error = try error(scene, folder, to: name, isPrivate: true)
            #expect(error.exit == .unusableInput && error.description.contains("public") && (puts(scene), commits(scene)) == before, "\(error)")
        }
    }

    // MARK: the token

    @Test func `the token goes to the hub alone, and is in no event or error`() throws {
        for chunk in [nil, 100_000] {
            let (scene, folder) = (try Scene([:]), try folder())
            scene.local.uploads { ($0.chunk, $0.verifies) = (chunk, true) }
            _ = try push(scene, folder)
            #expect(scene.local.storage.requests.count > 0 && scene.local.storage.requests.allSatisfy { $0.headers["authorization"] == nil })
            for request in scene.local.hub.requests where request.path.hasPrefix("/api/") || request.path.contains("/info/lfs/") {
                #expect(request.headers["authorization"] == "Bearer hf_secret", "\(request.target)")
            }
            #expect(!"\(scene.events)".contains("hf_secret"))
        }
        // A hub that repeats it, and one that redirects an upload to another host.
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.change { request, answer in
            request.path.contains("/preupload/") ? LocalHub.Response(400, Array(#"{"error": "no hf_secret"}"#.utf8)) : answer
        }
        #expect(try !error(scene, folder).description.contains("hf_secret"))
        let storage = "http://localhost:\(scene.local.storage.port)"
        for status in [301, 302, 307, 308] {
            scene.local.change { request, answer in
                request.path.contains("/commit/") ? LocalHub.Response(status, [], headers: ["Location": storage + "/elsewhere"]) : answer
            }
            let error = try error(scene, folder)
            #expect(error.exit == .machineFailed && !scene.local.storage.requests.contains { $0.path == "/elsewhere" }, "\(error)")
        }
    }

    @Test func `a redirect on the hub itself is followed with the whole body`() throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.change { request, answer in
            request.path.contains("/preupload/main") && request.target != "/api/models/me/m/preupload/main?again"
                ? LocalHub.Response(307, [], headers: ["Location": "/api/models/me/m/preupload/main?again"]) : answer
        }
        #expect(try push(scene, folder).changed.count == 5)
    }

    @Test func `without a token a hub elsewhere is not asked, and offline none is`() throws {
        let folder = try PushFolder(folder(), disk: files)
        for (more, words) in [(["HF_ENDPOINT": "https://hub.example"], "access token"), (["HF_HUB_OFFLINE": "1"], "HF_HUB_OFFLINE")] {
            let error = #expect(throws: LorikeetError.self) {
                try Scene([:]).hub(more).push(folder, to: HubName("me/m", kind: .model), isPrivate: false, summary: "s")
            }
            #expect(error?.exit == .unusableInput && error?.description.contains(words) == true, "\(String(describing: error))")
        }
    }

    // MARK: failures

    @Test(arguments: [500, 502, 503, 504, 429, 408]) func `a busy server is asked again`(status: Int) throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { $0.chunk = 100_000 }
        scene.local.change { request, answer in
            ["POST", "PUT"].contains(request.method) && request.earlier == 0 ? LocalHub.Response(status) : answer
        }
        #expect(try push(scene, folder).sentBytes == 300_000)
        #expect(try scene.local.repository("models/me/m")?.files == content(folder) && scene.waits >= 6)
    }

    @Test(arguments: [nil, 100_000] as [Int?]) func `a connection that breaks in the middle is gone on with`(chunk: Int?) throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { uploads in
            uploads.chunk = chunk
            uploads.cut = { $0.earlier == 0 ? 2000 : nil }
        }
        #expect(try push(scene, folder).sentBytes == 300_000)
        #expect(try scene.local.repository("models/me/m")?.files == content(folder))
        // One that breaks each time is given up, and what has arrived is not sent again.
        let (other, two) = (try Scene([:]), try self.folder(["model2.safetensors": Scene.bytes(5000, seed: 5)]))
        other.local.uploads { $0.cut = { $0.path.contains("/lfs/") && $0.method == "PUT" && Int($0.headers["content-length"] ?? "") == 5000 ? 1000 : nil } }
        #expect(try error(other, two).exit == .machineFailed && commits(other) == 0)
        other.local.uploads { $0.cut = { _ in nil } }
        let before = puts(other)
        #expect(try push(other, two).sentBytes == 5000 && puts(other) == before + 1)
        #expect(other.events.contains(.present(file: "model.safetensors", bytes: 300_000)))
    }

    @Test func `a stopped push keeps what has arrived, and the same command goes on`() throws {
        let (scene, folder) = (try Scene([:]), try folder(["model2.safetensors": Scene.bytes(5000, seed: 5)]))
        scene.shouldStop = { scene.events.contains { if case .sent = $0 { true } else { false } } }
        #expect(try error(scene, folder).exit == .stoppedEarly && commits(scene) == 0)
        scene.shouldStop = { false }
        #expect(try push(scene, folder).sentBytes == 5000)
    }

    @Test func `refusals are sentences with the way out`() throws {
        let cases: [(String, Int, LorikeetError.ExitClass, String)] = [
            ("/preupload/", 401, .unusableInput, "does not accept HF_TOKEN"), ("/preupload/", 403, .unusableInput, "no right to write"),
            ("/commit/", 403, .unusableInput, "no right to write"), ("/commit/", 409, .machineFailed, "another upload"),
            ("/commit/", 412, .machineFailed, "another upload"), ("/commit/", 413, .unusableInput, "too large"),
            ("/commit/", 400, .unusableInput, "refuses it"),
            ("/objects/batch", 413, .unusableInput, "me/m/model.safetensors"), ("/objects/batch", 500, .machineFailed, "status 500"),
            ("/lfs/", 403, .machineFailed, "where the hub keeps large files"), ("/preupload/", 429, .machineFailed, "refuses more requests"),
        ]
        for (path, status, exit, words) in cases {
            let (scene, folder) = (try Scene([:]), try folder())
            scene.local.change { request, answer in
                // The addresses of large files, and that of their list, have the same part.
                request.path.contains(path) && (path != "/lfs/" || request.method == "PUT") ? LocalHub.refusal(status, "", "because") : answer
            }
            let error = try error(scene, folder)
            #expect(error.exit == exit && error.description.contains(words) && error.fix != nil, "\(path) \(status): \(error)")
            #expect(scene.local.repository("models/me/m")?.files.isEmpty == true)
        }
        let scene = try Scene([:])
        #expect(try error(scene, folder(), to: "me/m@v9").description.contains("no branch 'v9'"))
        // A token for one repository may not make any, and may write to that one.
        _ = try push(scene, folder())
        scene.local.change { request, answer in request.path == "/api/repos/create" ? LocalHub.Response(403) : answer }
        #expect(try push(scene, folder()).changed.isEmpty)
        #expect(try error(scene, folder(), to: "me/none").description.contains("no right to write"))
    }

    @Test func `content that arrives with another sum is not committed`() throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { uploads in
            uploads.changeActions = { json in
                let other = String(repeating: "a", count: 64)
                let text = json.serialized()
                guard let match = text.firstMatch(of: /lfs\/([0-9a-f]{64})/) else { return json }
                return (try? JSON.parse(text.replacing("/lfs/" + match.1, with: "/lfs/" + other), source: "")) ?? json
            }
        }
        let error = try error(scene, folder)
        #expect(error.exit == .machineFailed && error.description.contains("status 400") && commits(scene) == 0)
    }

    @Test(arguments: [
        "[]", #"{"objects": []}"#, #"{"objects": [{"oid": "x"}]}"#, #"{"objects": [{"oid": "OID", "actions": {"upload": {"href": "ftp://x"}}}]}"#,
        #"{"objects": [{"oid": "OID", "actions": {"upload": {"href": "http://h/x", "header": {"chunk_size": "0"}}}}]}"#,
        #"{"objects": [{"oid": "OID", "actions": {"upload": {"href": "http://h/x", "header": {"chunk_size": "7", "1": "http://h/1"}}}}]}"#,
        #"{"objects": [{"oid": "OID", "actions": {"upload": {"href": "http://h/x", "header": {"chunk_size": "9223372036854775807"}}}}]}"#,
        #"{"objects": [{"oid": "OID", "error": {"code": 422, "message": "bad\nthing"}}]}"#,
    ]) func `answers that cannot be used are errors, and nothing is sent`(text: String) throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { uploads in
            uploads.changeActions = { _ in (try? JSON.parse(text.replacing("OID", with: LocalHub.sha256(PushTests.weights)), source: "")) ?? .null }
        }
        let error = try error(scene, folder)
        #expect(error.place == "me/m/model.safetensors" && puts(scene) == 0 && commits(scene) == 0 && !error.description.contains("\n"), "\(error)")
    }

    @Test func `headers that the hub asks for go to the storage, those that are none do not`() throws {
        let (scene, folder) = (try Scene([:]), try folder())
        scene.local.uploads { uploads in
            uploads.changeActions = { json in
                let text = json.serialized().replacing(
                    #"signature=secret""#, with: #"signature=secret", "header": {"X-Key": "v", "X-Bad": "a\r\nEvil: 1", "Bad Name": "x"}"#)
                return (try? JSON.parse(text, source: "")) ?? json
            }
        }
        _ = try push(scene, folder)
        let put = try #require(scene.local.storage.requests.first { $0.method == "PUT" })
        #expect(put.headers["x-key"] == "v" && put.headers["x-bad"] == nil && put.headers["evil"] == nil && put.headers["bad name"] == nil)
    }

    @Test func `a file that changes while it is uploaded is an error`() throws {
        let (scene, folder) = (try Scene([:]), try folder())
        let listed = try PushFolder(folder, disk: files)
        try files.writeDurably(Scene.bytes(100), to: folder + "/model.safetensors")
        let error = #expect(throws: LorikeetError.self) {
            try scene.hub(["HF_TOKEN": "t"]).push(listed, to: HubName("me/m", kind: .model), isPrivate: false, summary: "s")
        }
        #expect(error?.description.contains("has changed") == true && commits(scene) == 0)
    }

    // MARK: folders

    @Test func `folders with anything but a model's files are refused by the entry's name`() throws {
        for name in [
            "model.safetensors.lorikeet-partial", "x.safetensors.incomplete", "trainer_state.json", "optimizer.safetensors", "training_args.bin", "run.py",
            ".env", "Modelfile-", "Modelfile-x.py",
            ".git/config.json", "checkpoint-500/model.safetensors", "checkpoints/step-1/model.safetensors", "merged.partial/config.json", "a.part-2/x.json",
            "notes",
        ] {
            let folder = try folder([name: Scene.bytes("x")])
            let error = #expect(throws: LorikeetError.self) { try PushFolder(folder, disk: files) }
            let first = name.split(separator: "/").first.map(String.init) ?? name
            #expect(
                error?.exit == .unusableInput && error?.place?.hasPrefix(folder + "/" + first) == true && error?.fix != nil,
                "\(name): \(String(describing: error))")
        }
        for (target, link) in [("/etc/hostname", "link.json"), ("/etc", "linked"), ("/no/such", "dead.json")] {
            let folder = try folder()
            #expect(symlink(target, folder + "/" + link) == 0)
            let error = #expect(throws: LorikeetError.self) { try PushFolder(folder, disk: files) }
            #expect(error?.place == folder + "/" + link && error?.what.contains("link") == true)
        }
        for name in ["LICENSE", "LICENSE.txt", "NOTICE", "picture.png", ".gitattributes", "tokenizer.model", "chat_template.jinja"] {
            #expect(try PushFolder(folder([name: Scene.bytes("x")]), disk: files).files.contains { $0.path == name })
        }
    }

    @Test func `a folder without a model, or without a shard of its index, is refused`() throws {
        func error(_ names: [String: [UInt8]]) throws -> LorikeetError? {
            let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-push-" + UUID().uuidString).path
            try files.createDirectory(path)
            for (name, bytes) in names { try files.writeDurably(bytes, to: path + "/" + name) }
            do {
                _ = try PushFolder(path, disk: files)
                return nil
            } catch let error as LorikeetError { return error }
        }
        let one = Scene.bytes("x")
        #expect(try error([:])?.what.contains("no model") == true && error(["config.json": one])?.what.contains("no model") == true)
        #expect(try error(["adapter_config.json": one, "adapter_model.safetensors": one]) == nil && error(["m-F16.gguf": one, "Modelfile": one]) == nil)
        #expect(try error(["m-F16.gguf": one, "m-Q4_K_M.gguf": one, "Modelfile": one, "Modelfile-Q4_K_M": one, "chat_template.jinja": one]) == nil)
        let index = Scene.bytes(#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#)
        let broken = try error(["config.json": one, "model.safetensors.index.json": index, "model-00001-of-00002.safetensors": one])
        #expect(broken?.what.contains("model-00002-of-00002.safetensors") == true)
        #expect(try error(["run.yaml": one, "summary.json": one])?.fix?.contains("--part") == true)
        #expect(throws: LorikeetError.self) { try PushFolder("/no/such/folder", disk: files) }
    }

    @Test func `Base64 is that of RFC 4648`() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")] {
            #expect(Base64.encode(Array(text.utf8)) == coded)
        }
        let bytes = Scene.bytes(1001)
        #expect(Base64.encode(bytes) == Data(bytes).base64EncodedString() && LocalHub.decoded(Base64.encode(bytes)) == bytes)
    }
}
