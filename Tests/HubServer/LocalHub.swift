import LorikeetHub
import LorikeetJSON
import Synchronization

/// A hub on this machine with a second server beside it that its large files come from, as a hub's storage is another host. Both record what they are asked.
package final class LocalHub: Sendable {
    package typealias Request = HTTPServer.Request
    package typealias Response = HTTPServer.Response

    package struct Repository: Sendable {
        package var commit: String
        package var files: [String: [UInt8]]
        /// Paths that are kept in the storage and named by their SHA-256.
        package var large: Set<String>
        package var isPrivate = false

        package init(commit: String, files: [String: [UInt8]], large: Set<String> = []) { (self.commit, self.files, self.large) = (commit, files, large) }
    }

    struct State: Sendable {
        var uploads = Uploads()
        var repositories: [String: Repository] = [:]
        var change: @Sendable (Request, Response) -> Response = { $1 }
        var storage = ""
        /// Without sizes and hashes in the listing, as small hubs have it.
        var listsNamesOnly = false
    }

    private let state: SharedState
    package let hub: HTTPServer
    package let storage: HTTPServer

    /// The hub's address for HF_ENDPOINT. Its storage is addressed as `localhost`, so that its host is another.
    package var endpoint: String { "http://127.0.0.1:\(hub.port)" }

    final class SharedState: Sendable {
        let state = Mutex(State())
    }

    /// - Parameters:
    ///   - repositories: by `models/ORG/NAME` or `datasets/ORG/NAME`.
    ///   - change: gets each request and the answer of a sound hub, and returns what is sent.
    package init(
        _ repositories: [String: Repository], listsNamesOnly: Bool = false, change: @escaping @Sendable (Request, Response) -> Response = { $1 }
    ) throws {
        let shared = SharedState()
        shared.state.withLock { state in
            (state.repositories, state.change, state.listsNamesOnly) = (repositories, change, listsNamesOnly)
        }
        let cut: @Sendable (Request) -> Int? = { request in shared.state.withLock { $0.uploads.cut }(request) }
        hub = try HTTPServer(cut: cut) { request in
            let state = shared.state.withLock { $0 }
            guard request.method == "POST" else { return state.change(request, Self.answer(request, state)) }
            // A request that is refused changes nothing.
            let refusal = state.change(request, Response(200))
            return refusal.status != 200 ? refusal : state.change(request, shared.state.withLock { $0.post(request) })
        }
        storage = try HTTPServer(cut: cut) { request in
            let state = shared.state.withLock { $0 }
            guard request.method == "PUT" else { return state.change(request, Self.stored(request, state)) }
            let refusal = state.change(request, Response(200))
            return refusal.status != 200 ? refusal : state.change(request, shared.state.withLock { $0.put(request) })
        }
        let address = "http://localhost:\(storage.port)"
        shared.state.withLock { $0.storage = address }
        state = shared
    }

    deinit {
        hub.stop()
        storage.stop()
    }

    package func repository(_ name: String) -> Repository? { state.state.withLock { $0.repositories[name] } }
    /// How the upload side behaves.
    package func uploads(_ body: (inout Uploads) -> Void) { state.state.withLock { body(&$0.uploads) } }
    package func set(_ name: String, _ repository: Repository) { state.state.withLock { $0.repositories[name] = repository } }
    package func size(of path: String, in name: String) -> Int? { state.state.withLock { $0.repositories[name]?.files[path]?.count } }
    package func change(_ change: @escaping @Sendable (Request, Response) -> Response) { state.state.withLock { $0.change = change } }

    /// All that came to both.
    package var requests: [Request] { hub.requests + storage.requests }

    package static func sha256(_ bytes: [UInt8]) -> String { digest(bytes, .sha256) }
    /// Git's name of a content.
    package static func gitHash(_ bytes: [UInt8]) -> String { digest(Array("blob \(bytes.count)\0".utf8) + bytes, .sha1) }

    private static func digest(_ bytes: [UInt8], _ kind: ContentDigest.Kind) -> String {
        var digest = ContentDigest(kind)
        bytes.withUnsafeBytes { digest.add($0) }
        return digest.finish()
    }

    static func json(_ value: JSON) -> Response { Response(200, Array(value.serialized().utf8), headers: ["Content-Type": "application/json"]) }

    package static func refusal(_ status: Int, _ code: String, _ words: String) -> Response {
        Response(status, Array((["error": .string(words)] as JSON).serialized().utf8), headers: ["X-Error-Code": code, "X-Error-Message": words])
    }

    /// What a sound hub answers.
    private static func answer(_ request: Request, _ state: State) -> Response {
        let pieces = request.path.split(separator: "/").map(String.init)
        if pieces.first == "api" {
            if pieces.count == 2 {
                return json(.array(state.repositories.keys.sorted().map { ["id": .string($0.split(separator: "/").dropFirst().joined(separator: "/"))] }))
            }
            guard pieces.count >= 4 else { return refusal(404, "", "not found") }
            guard let found = state.repositories[pieces[1...3].joined(separator: "/")] else {
                return refusal(401, "RepoNotFound", "Invalid username or password.")
            }
            if pieces.count == 6, pieces[4] == "revision", !["main", found.commit].contains(pieces[5]) {
                return refusal(404, "RevisionNotFound", "Invalid rev id: \(pieces[5])")
            }
            return json([
                "id": .string(pieces[2...3].joined(separator: "/")), "sha": .string(found.commit), "private": .bool(found.isPrivate),
                "siblings": .array(siblings(found, state)),
            ])
        }
        let kind = pieces.first == "datasets" ? "datasets" : "models"
        let rest = Array(pieces.first == "datasets" ? pieces.dropFirst() : pieces[...])
        guard rest.count >= 5, rest[2] == "resolve", let found = state.repositories["\(kind)/\(rest[0])/\(rest[1])"] else {
            return refusal(404, "RepoNotFound", "Repository not found")
        }
        let path = rest[4...].joined(separator: "/")
        guard let bytes = found.files[path] else { return refusal(404, "EntryNotFound", "Entry not found") }
        guard found.large.contains(path) else {
            return ranged(bytes, request, ["ETag": "\"\(gitHash(bytes))\"", "X-Repo-Commit": found.commit])
        }
        return Response(
            302, Array("see there".utf8),
            headers: [
                "X-Repo-Commit": found.commit, "X-Linked-Etag": "\"\(sha256(bytes))\"", "X-Linked-Size": "\(bytes.count)", "ETag": "\"pointer\"",
                "Location": "\(state.storage)/\(kind)/\(rest[0])/\(rest[1])/\(path)?signature=secret",
            ])
    }

    private static func siblings(_ repository: Repository, _ state: State) -> [JSON] {
        repository.files.sorted { $0.key < $1.key }.map { path, bytes in
            var entry: JSONObject = ["rfilename": .string(path)]
            if !state.listsNamesOnly {
                entry["size"] = JSON(bytes.count)
                entry["blobId"] = .string(gitHash(bytes))
                if repository.large.contains(path) { entry["lfs"] = ["sha256": .string(sha256(bytes)), "size": JSON(bytes.count), "pointerSize": 130] }
            }
            return .object(entry)
        }
    }

    /// What the storage answers.
    private static func stored(_ request: Request, _ state: State) -> Response {
        let pieces = request.path.split(separator: "/").map(String.init)
        guard pieces.count >= 4, let bytes = state.repositories[pieces[0...2].joined(separator: "/")]?.files[pieces[3...].joined(separator: "/")] else {
            return Response(404)
        }
        return ranged(bytes, request, ["ETag": "\"storage\""])
    }

    private static func ranged(_ bytes: [UInt8], _ request: Request, _ headers: [String: String]) -> Response {
        guard let text = request.headers["range"]?.dropFirst("bytes=".count), let start = Int(text.prefix { $0 != "-" }) else {
            return Response(200, bytes, headers: headers)
        }
        guard start < bytes.count else { return Response(416, [], headers: ["Content-Range": "bytes */\(bytes.count)"]) }
        let end = min(bytes.count, text.split(separator: "-").dropFirst().first.flatMap { Int($0) }.map { $0 + 1 } ?? bytes.count)
        return Response(
            206, Array(bytes[start..<max(start, end)]), headers: headers.merging(["Content-Range": "bytes \(start)-\(end - 1)/\(bytes.count)"]) { $1 })
    }
}
