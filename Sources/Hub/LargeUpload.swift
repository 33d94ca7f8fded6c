import LorikeetGround
import LorikeetJSON

/// Uploads the content of one large file as Git LFS does it: the hub says whether it has the content already, and else to which addresses it goes.
/// These addresses are signed, so no token is sent to them.
struct LargeUpload {
    let client: HubClient
    let name: HubName
    let revision: String
    let file: PushFolder.File
    let reader: any FileReader
    /// SHA-256 of the content.
    let sum: String
    /// Called with the bytes sent so far.
    let progress: (Int64) -> Void

    private static let headers = ["Accept: application/vnd.git-lfs+json", "Content-Type: application/vnd.git-lfs+json"]

    /// What the hub asks for.
    private struct Action {
        let address: WebAddress
        /// Names and values.
        let headers: JSONObject
    }

    /// - Returns: whether bytes were sent; false where the hub had them.
    /// - Throws: `HubRefusal`, `HTTPFailure`, and exit 4 where the hub's answer cannot be used.
    func run() throws -> Bool {
        var sent = false
        // Addresses expire, so a new attempt asks for new ones.
        try client.retrying(file.path, client.environment.policy) {
            guard let (upload, verify) = try actions() else { return }
            if let size = upload.headers["chunk_size"] {
                try uploadParts(upload, size)
            } else {
                _ = try put(upload.address, 0..<reader.count, headers: Self.lines(upload.headers))
            }
            sent = true
            guard let verify else { return }
            let body = (["oid": .string(sum), "size": JSON(reader.count)] as JSON).serialized()
            let toHub = verify.address.hasOrigin(of: client.settings.endpoint)
            _ = try client.submit(
                "POST", verify.address, body: BytesBody(Array(body.utf8)), headers: Self.headers + Self.lines(verify.headers, token: !toHub), authorized: toHub)
        }
        return sent
    }

    // MARK: what is to be sent

    /// nil where the hub has the content.
    private func actions() throws -> (upload: Action, verify: Action?)? {
        let request: JSON = [
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": [["oid": .string(sum), "size": JSON(reader.count)]],
            "hash_algo": "sha256", "ref": ["name": .string(revision)],
        ]
        let answer = try client.submit(
            "POST", client.address("/\(name.id).git/info/lfs/objects/batch"), body: BytesBody(Array(request.serialized().utf8)), headers: Self.headers,
            authorized: true)
        guard let object = try client.document(answer.body)["objects"]?.array?.first, object["oid"]?.string == sum else {
            throw HTTPFailure.failed("it says nothing of the file's content")
        }
        if let error = object["error"] {
            let code = error["code"]?.int ?? 0
            throw HubRefusal(
                head: HTTPHead(status: code), words: String((error["message"]?.string ?? "").printable(lines: false).prefix(300)), tokenWasSent: true,
                storage: nil)
        }
        guard let actions = object["actions"]?.object else { return nil }
        guard let upload = try actions["upload"].map(action) else { return nil }
        return (upload, try actions["verify"].map(action))
    }

    private func action(_ json: JSON) throws -> Action {
        guard let address = json["href"]?.string.flatMap(WebAddress.init) else { throw HTTPFailure.failed("it names no web address for the file") }
        // Without encryption only to this machine, or where the user's own hub is unencrypted.
        guard address.scheme == "https" || address.isLocal || client.settings.endpoint.scheme == "http" else {
            throw HTTPFailure.failed("the file would go to \(address.origin), which is not encrypted")
        }
        return Action(address: address, headers: json["header"]?.object ?? [:])
    }

    /// Headers that the hub asks to send along; those that could not be one line are left out.
    ///
    /// - Parameter token: whether they may hold an `Authorization`, for a server other than the hub.
    private static func lines(_ headers: JSONObject, token: Bool = true) -> [String] {
        headers.entries.compactMap { name, value in
            guard let text = value.string, name.wholeMatch(of: /[A-Za-z][A-Za-z0-9-]{0,60}/) != nil, token || name.lowercased() != "authorization",
                text.unicodeScalars.allSatisfy({ (0x20...0x7E).contains($0.value) }), name.lowercased() != "transfer-encoding"
            else { return nil }
            return "\(name): \(text)"
        }
    }

    // MARK: sending

    private func put(_ address: WebAddress, _ range: Range<Int>, headers: [String]) throws -> HTTPHead {
        let body = FileBody(reader, range) { progress(Int64(range.lowerBound) + $0) }
        return try client.submit("PUT", address, body: body, headers: ["Content-Type: application/octet-stream"] + headers, authorized: false).head
    }

    /// A large file in parts, each to an address of its own; a part that fails for a reason that may pass is sent again alone.
    private func uploadParts(_ upload: Action, _ size: JSON) throws {
        guard let said = size.int ?? size.string.flatMap({ Int($0) }), said > 0 else { throw HTTPFailure.failed("it names no size for the file's parts") }
        let chunk = min(said, max(1, reader.count))
        let parts = upload.headers.entries.compactMap { name, value in Int(name).map { (number: $0, address: value.string.flatMap(WebAddress.init)) } }
            .sorted { $0.number < $1.number }
        guard parts.count == (reader.count + chunk - 1) / chunk, parts.map(\.number) == Array(1...max(1, parts.count)) else {
            throw HTTPFailure.failed("it names \(parts.count) addresses for the file's parts of \(chunk) bytes")
        }
        var done: [JSON] = []
        for part in parts {
            guard let address = part.address else { throw HTTPFailure.failed("it names no web address for part \(part.number)") }
            let start = (part.number - 1) * chunk
            let head = try client.retrying("\(file.path), part \(part.number) of \(parts.count)", client.environment.policy) {
                try put(address, start..<min(reader.count, start + chunk), headers: [])
            }
            guard let tag = head["etag"], !tag.isEmpty else { throw HTTPFailure.failed("the storage gives no tag for part \(part.number)") }
            done.append(["partNumber": JSON(part.number), "etag": .string(tag)])
        }
        let body = (["oid": .string(sum), "parts": .array(done)] as JSON).serialized()
        _ = try client.submit("POST", upload.address, body: BytesBody(Array(body.utf8)), headers: Self.headers, authorized: false)
    }
}
