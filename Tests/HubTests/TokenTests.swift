import FailingFiles
import Foundation
import HubServer
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetHub

/// The token goes to the hub's own server and nowhere else; refusals say what to do.
struct TokenTests {
    static let secret = "hf_VerySecretToken0123456789"
    static let name = PullTests.name

    private func scene(_ change: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response = { $1 }) throws -> Scene {
        let scene = try Scene(PullTests.model, change: change)
        scene.variables["HF_TOKEN"] = Self.secret
        return scene
    }

    private func authorised(_ requests: [LocalHub.Request]) -> Int { requests.count { $0.headers["authorization"] == "Bearer " + Self.secret } }

    /// Requests that hold the token anywhere.
    private func holding(_ requests: [LocalHub.Request]) -> Int {
        requests.count { request in request.target.contains(Self.secret) || request.headers.contains { $0.value.contains(Self.secret) } }
    }

    @Test func `a redirect to another host gets no token`() throws {
        let scene = try scene()
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        #expect(authorised(scene.local.hub.requests) == scene.local.hub.requests.count)
        #expect(holding(scene.local.storage.requests) == 0 && scene.local.storage.requests.count == 2)
        #expect(!"\(scene.events)".contains(Self.secret))
        for path in scene.tree() { #expect(!scene.text(scene.cache + "/" + path).contains(Self.secret), "\(path)") }
    }

    @Test func `no other port or name of the same machine gets the token, also by way of the listing`() throws {
        let other = try HTTPServer { _ in HTTPServer.Response(404) }
        for place in ["http://127.0.0.1:\(other.port)", "http://localhost:\(other.port)", "//localhost:\(other.port)"] {
            let scene = try scene { request, response in
                request.path.hasPrefix("/api") ? LocalHub.Response(307, headers: ["Location": place + request.target]) : response
            }
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.description.contains(Self.secret) == false)
        }
        #expect(other.requests.count >= 3 && holding(other.requests) == 0)
        other.stop()
    }

    @Test func `a redirect within the hub, as of a renamed model, keeps the token`() throws {
        let scene = try scene { request, response in
            guard request.path.hasPrefix("/api/models/org/model/"), !request.target.contains("again") else { return response }
            return LocalHub.Response(307, headers: ["Location": request.path + "?again"])
        }
        try PullTests.expectWhole(try scene.pull(Self.name), scene)
        #expect(authorised(scene.local.hub.requests) == scene.local.hub.requests.count)
    }

    @Test func `redirects without an end, or to what is no web address, are refused`() throws {
        for location in ["/api/models/org/model?x", "file:///etc/passwd", "ftp://localhost/x", "", "http://a b/"] {
            let scene = try scene { request, response in
                request.path.hasPrefix("/api") ? LocalHub.Response(302, headers: ["Location": location]) : response
            }
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .machineFailed && scene.local.requests.count < 50, "\(location): \(String(describing: error))")
        }
    }

    @Test func `a server that repeats the token is not repeated`() throws {
        let scene = try scene { request, _ in
            LocalHub.Response(403, Scene.bytes(#"{"error": "bad \#(request.headers["authorization"] ?? "")"}"#))
        }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.description.contains("bad Bearer …") == true && error?.description.contains(Self.secret) == false)
    }

    private static func listing(_ text: String) -> LocalHub.Response { LocalHub.Response(200, Scene.bytes(text)) }

    /// An answer that holds the token in a place where a server may put any text: of a repository's listing, of a file's head, of a refusal.
    @Sendable private static func repeating(_ place: String, _ request: LocalHub.Request, _ sound: LocalHub.Response) -> LocalHub.Response {
        let isListing = request.path.hasPrefix("/api")
        var response = sound
        switch place {
        case "a name" where isListing:
            return listing("{\"sha\": \"abc\", \"siblings\": [{\"rfilename\": \"config.json\"}, {\"rfilename\": \"\(secret).json\"}]}")
        case "a name in escapes" where isListing:
            let escaped = secret.utf8.map { "\\u00" + String($0, radix: 16) }.joined()
            return listing("{\"sha\": \"abc\", \"siblings\": [{\"rfilename\": \"../\(escaped)\"}]}")
        case "a commit" where isListing: return listing("{\"sha\": \"/\(secret)\", \"siblings\": []}")
        case "no document" where isListing: return listing(secret)
        case "a tag" where !isListing:
            for name in ["X-Linked-Etag", "ETag"] { response.headers[name] = "\"\(secret)\"" }
            return response
        case "a wait": return LocalHub.Response(429, headers: ["Retry-After": secret])
        case "an explanation": return LocalHub.Response(418, headers: ["X-Error-Message": "no \(secret)", "X-Error-Code": secret])
        case "a path": return LocalHub.Response(302, headers: ["Location": "http://localhost:1/\(secret)"])
        case "a host": return LocalHub.Response(302, headers: ["Location": "http://\(secret).invalid/"])
        default: return response
        }
    }

    @Test(arguments: ["a name", "a name in escapes", "a commit", "no document", "a tag", "a wait", "an explanation", "a path", "a host"])
    func `whatever of an answer holds the token, no message, event or file has it`(place: String) throws {
        let scene = try scene { Self.repeating(place, $0, $1) }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        // A host's name is written in small letters.
        let shown = "\(String(describing: error)) \(scene.events) \(scene.tree())".lowercased()
        #expect(!shown.contains(Self.secret.lowercased()), "\(shown)")
        for path in scene.tree() { #expect(!scene.text(scene.cache + "/" + path).contains(Self.secret), "\(path)") }
        #expect(holding(scene.local.storage.requests) == 0)
    }

    @Test func `a hub that gives the token as a header for its storage does not have it sent there`() throws {
        let (scene, secret) = (try Scene([:]), Self.secret)
        scene.local.uploads { uploads in
            uploads.changeActions = { json in
                let text = json.serialized().replacing(
                    #"signature=secret""#, with: #"signature=secret", "header": {"X-Key": "v", "Authorization": "Bearer \#(secret)"}"#)
                return (try? JSON.parse(text, source: "")) ?? json
            }
        }
        let folder = scene.cache + "/model"
        try RealFiles().createDirectory(folder)
        try RealFiles().writeDurably(Scene.bytes("{}"), to: folder + "/config.json")
        try RealFiles().writeDurably(Scene.bytes(5000), to: folder + "/model.safetensors")
        _ = try scene.hub(["HF_TOKEN": secret]).push(
            PushFolder(folder, disk: RealFiles()), to: HubName("me/m", kind: .model), isPrivate: false, summary: "s")
        let put = try #require(scene.local.storage.requests.first { $0.method == "PUT" })
        #expect(put.headers["x-key"] == "v" && put.headers["authorization"] == nil && holding(scene.local.storage.requests) == 0)
        #expect(!"\(scene.events)".contains(secret))
    }

    @Test func `without encryption the token is not sent, and that is said`() throws {
        // An address of this machine that is not local by its name: the connection is plain, and could be anybody's.
        let scene = try scene()
        scene.variables["HF_ENDPOINT"] = "http://0.0.0.0:\(scene.local.hub.port)"
        _ = try scene.pull(Self.name)
        #expect(holding(scene.local.requests) == 0 && scene.warnings.count == 1 && scene.warnings[0].contains("HF_TOKEN is not sent"))
    }

    @Test(arguments: [401, 403]) func `a gated model shows the page where its licence is accepted`(status: Int) throws {
        for token in [true, false] {
            let scene = try scene { request, response in
                request.path.hasPrefix("/api")
                    ? response : LocalHub.Response(status, headers: ["X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."])
            }
            if !token { scene.variables["HF_TOKEN"] = nil }
            let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
            #expect(error?.exit == .unusableInput && error?.place == Self.name)
            #expect(error?.fix?.contains("accept its licence at \(scene.local.endpoint)/org/model") == true && error?.fix?.contains("HF_TOKEN") == true)
            #expect(scene.tree().isEmpty)
        }
    }

    @Test func `a storage that refuses is no matter of the licence`() throws {
        let scene = try scene { request, response in request.target.contains("signature=") ? LocalHub.Response(403, Scene.bytes("expired")) : response }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(
            error?.exit == .machineFailed
                && error?.what.hasPrefix("http://localhost:\(scene.local.storage.port), to which the hub redirects, answers with status 403") == true)
        #expect(error?.description.contains("signature") == false && error?.description.contains("licence") == false)
    }

    @Test func `a token that is not accepted is named without being shown`() throws {
        let scene = try scene { _, _ in LocalHub.Response(401, headers: ["X-Error-Message": "Invalid credentials in Authorization header"]) }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.what == "the hub does not accept HF_TOKEN (Invalid credentials in Authorization header)" && error?.exit == .unusableInput)
        #expect(error?.fix?.contains("\(scene.local.endpoint)/org/model") == true)
    }

    @Test(arguments: [401, 403]) func `a hub that only says no shows the page too`(status: Int) throws {
        let scene = try Scene(PullTests.model) { _, _ in LocalHub.Response(status) }
        let error = #expect(throws: LorikeetError.self) { try scene.pull(Self.name) }
        #expect(error?.exit == .unusableInput && error?.fix?.contains("accept its licence at \(scene.local.endpoint)/org/model") == true)
    }

    @Test func `a name that is not there names the nearest, and says that it may be private`() throws {
        let scene = try Scene(["models/org/model-large": Scene.model, "models/else/thing": Scene.model])
        for (asked, near) in [("org/model-lrage", "org/model-large"), ("orgg/model-large", "org/model-large"), ("org/Model-Large", "org/model-large")] {
            let error = #expect(throws: LorikeetError.self) { try scene.pull(asked) }
            #expect(
                error?.exit == .unusableInput && error?.fix?.hasPrefix("did you mean \(near)? or, if it is private or gated, accept its licence at") == true,
                "\(String(describing: error))")
        }
        let far = #expect(throws: LorikeetError.self) { try scene.pull("zebra/quux") }
        #expect(far?.fix?.hasPrefix("if it is private or gated, accept its licence at \(scene.local.endpoint)/zebra/quux") == true)
        // What the cache has is a hint too, where the hub lists nothing.
        _ = try scene.pull("org/model-large")
        scene.local.change { request, response in request.path == "/api/models" ? LocalHub.Response(500) : response }
        #expect(#expect(throws: LorikeetError.self) { try scene.pull("org/model-lrage") }?.fix?.contains("org/model-large") == true)
    }

    @Test func `a revision that is not there is named`() throws {
        let scene = try Scene(PullTests.model)
        let error = #expect(throws: LorikeetError.self) { try scene.pull("org/model@v9") }
        #expect(error?.what == "it has no revision 'v9'" && error?.exit == .unusableInput)
    }
}
