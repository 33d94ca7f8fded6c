import Foundation
import LorikeetJSON

/// The upload side of the hub: repositories that are made, the storage's contents, commits.
extension LocalHub {
    package static func decoded(_ base64: String) -> [UInt8] { Data(base64Encoded: base64).map { [UInt8]($0) } ?? [] }

    package struct Uploads: Sendable {
        /// Contents of the storage by their SHA-256.
        package var contents: [String: [UInt8]] = [:]
        /// Parts that have come, by content and number.
        var parts: [String: [UInt8]] = [:]
        /// Files from this size on go to the storage.
        package var largeFrom = 1000
        /// Bytes of a part; nil takes files whole.
        package var chunk: Int?
        /// Whether the storage's answer is confirmed.
        package var verifies = false
        /// Bytes of a request's body after which its connection is closed.
        package var cut: @Sendable (Request) -> Int? = { _ in nil }
        /// Changes a sound answer that says where a content goes.
        package var changeActions: @Sendable (JSON) -> JSON = { $0 }
        /// Makes repositories public, whatever is asked for: a hub of another protocol.
        package var ignoresPrivate = false
    }
}

extension LocalHub.State {
    typealias Request = LocalHub.Request
    typealias Response = LocalHub.Response

    mutating func post(_ request: Request) -> Response {
        let pieces = request.path.split(separator: "/").map(String.init)
        let json = (try? JSON.parse(request.body, source: "")) ?? .null
        if request.path == "/api/repos/create" { return create(json) }
        if pieces.count == 3, pieces[0] == "lfs" { return pieces[1] == "complete" ? complete(pieces[2], json) : verify(json) }
        if request.path.hasSuffix(".git/info/lfs/objects/batch"), pieces.count == 6 {
            guard repositories["models/\(pieces[0])/\(pieces[1].dropLast(4))"] != nil else {
                return LocalHub.refusal(404, "RepoNotFound", "Repository not found")
            }
            return batch(json, request)
        }
        guard pieces.count == 6, pieces[0] == "api", let repository = repositories[pieces[1...3].joined(separator: "/")] else {
            return LocalHub.refusal(404, "RepoNotFound", "Repository not found")
        }
        guard pieces[5] == "main" else { return LocalHub.refusal(404, "RevisionNotFound", "Invalid rev id: \(pieces[5])") }
        switch pieces[4] {
        case "preupload": return preupload(json, repository)
        case "commit": return commit(request, pieces[1...3].joined(separator: "/"))
        default: return LocalHub.refusal(404, "", "not found")
        }
    }

    private mutating func create(_ json: JSON) -> Response {
        guard let name = json["name"]?.string, let owner = json["organization"]?.string else { return LocalHub.refusal(400, "", "no name") }
        let id = "models/\(owner)/\(name)"
        guard repositories[id] == nil else { return LocalHub.refusal(409, "", "You already created this model repo") }
        var repository = LocalHub.Repository(commit: String(repeating: "0", count: 40), files: [:])
        repository.isPrivate = json["visibility"]?.string == "private" && !uploads.ignoresPrivate
        repositories[id] = repository
        return LocalHub.json(["url": .string(id)])
    }

    private func preupload(_ json: JSON, _ repository: LocalHub.Repository) -> Response {
        let files = (json["files"]?.array ?? []).map { file -> JSON in
            let path = file["path"]?.string ?? ""
            let isLarge = (file["size"]?.int ?? 0) >= uploads.largeFrom
            var entry: JSONObject = [
                "path": .string(path), "uploadMode": .string(isLarge ? "lfs" : "regular"), "shouldIgnore": .bool(path.hasSuffix(".ignored.txt")),
            ]
            if let there = repository.files[path] {
                entry["oid"] = .string(repository.large.contains(path) ? LocalHub.sha256(there) : LocalHub.gitHash(there))
            }
            return .object(entry)
        }
        return LocalHub.json(["files": .array(files)])
    }

    private func batch(_ json: JSON, _ request: Request) -> Response {
        let objects = (json["objects"]?.array ?? []).map { object -> JSON in
            let (oid, size) = (object["oid"]?.string ?? "", object["size"]?.int ?? 0)
            guard uploads.contents[oid] == nil else { return ["oid": .string(oid), "size": JSON(size)] }
            var upload: JSON = ["href": .string("\(storage)/lfs/\(oid)?signature=secret")]
            if let chunk = uploads.chunk {
                var header: JSONObject = ["chunk_size": .string("\(chunk)")]
                for part in 1...max(1, (size + chunk - 1) / chunk) { header["\(part)"] = .string("\(storage)/lfs/\(oid)/\(part)?signature=secret") }
                upload = ["href": .string("http://\(request.headers["host"] ?? "")/lfs/complete/\(oid)"), "header": .object(header)]
            }
            var actions: JSONObject = ["upload": upload]
            if uploads.verifies { actions["verify"] = ["href": .string("http://\(request.headers["host"] ?? "")/lfs/verify/\(oid)"), "header": [:]] }
            return ["oid": .string(oid), "size": JSON(size), "authenticated": true, "actions": .object(actions)]
        }
        return LocalHub.json(uploads.changeActions(["transfer": "basic", "objects": .array(objects)]))
    }

    mutating func put(_ request: Request) -> Response {
        let pieces = request.path.split(separator: "/").map(String.init)
        guard pieces.count >= 2, pieces[0] == "lfs", request.target.hasSuffix("?signature=secret") else { return Response(403) }
        guard pieces.count == 3 else { return keep(request.body, as: pieces[1]) }
        uploads.parts["\(pieces[1])/\(pieces[2])"] = request.body
        return Response(200, [], headers: ["ETag": "\"part\(pieces[2])-\(request.body.count)\""])
    }

    private mutating func keep(_ bytes: [UInt8], as sum: String) -> Response {
        guard LocalHub.sha256(bytes) == sum else { return Response(400, Array("<Error><Message>the content has another sum</Message></Error>".utf8)) }
        uploads.contents[sum] = bytes
        return Response(200)
    }

    private mutating func complete(_ sum: String, _ json: JSON) -> Response {
        var bytes: [UInt8] = []
        for part in json["parts"]?.array ?? [] {
            let number = part["partNumber"]?.int ?? 0
            guard let content = uploads.parts["\(sum)/\(number)"], part["etag"]?.string == "\"part\(number)-\(content.count)\"" else {
                return LocalHub.refusal(400, "", "no part \(number)")
            }
            bytes += content
        }
        return keep(bytes, as: sum)
    }

    private func verify(_ json: JSON) -> Response {
        guard let oid = json["oid"]?.string, uploads.contents[oid]?.count == json["size"]?.int else { return LocalHub.refusal(404, "", "no such content") }
        return Response(200)
    }

    private mutating func commit(_ request: Request, _ id: String) -> Response {
        guard var repository = repositories[id] else { return LocalHub.refusal(404, "RepoNotFound", "Repository not found") }
        for line in request.body.split(separator: UInt8(ascii: "\n")) {
            guard let json = try? JSON.parse(Array(line), source: ""), let value = json["value"] else { return LocalHub.refusal(400, "", "no JSON") }
            let path = value["path"]?.string ?? ""
            switch json["key"]?.string {
            case "header": guard value["summary"]?.string != nil else { return LocalHub.refusal(400, "", "no summary") }
            case "file":
                repository.files[path] = LocalHub.decoded(value["content"]?.string ?? "")
                repository.large.remove(path)
            case "lfsFile":
                guard let bytes = uploads.contents[value["oid"]?.string ?? ""] else { return LocalHub.refusal(400, "", "no such content: \(path)") }
                repository.files[path] = bytes
                repository.large.insert(path)
            case "deletedFile": repository.files[path] = nil
            default: return LocalHub.refusal(400, "", "unknown key")
            }
        }
        repository.commit = String(LocalHub.sha256(request.body).prefix(40))
        repositories[id] = repository
        return LocalHub.json(["success": true, "commitOid": .string(repository.commit), "commitUrl": "x"])
    }
}
