import LorikeetGround
import LorikeetJSON

/// What a push has done.
package struct PushResult: Sendable, Equatable {
    package let name: HubName
    /// The commit that the branch is at; nil where the hub does not say.
    package let commit: String?
    /// The repository's page.
    package let page: String
    package let files: Int
    package let bytes: Int64
    /// Bytes of large files that went over the network this time.
    package let sentBytes: Int64
    /// Files that the repository did not have, or had with other content; empty where nothing was to be done.
    package let changed: [String]
    /// Weights of an earlier model that were taken out, because the new ones do not replace them.
    package let removed: [String]
}

/// Uploads a folder as a model repository, in the hub's protocol: the repository is made, the hub is asked how each file goes in, large files go to its
/// storage, and one commit names them all. Until that commit the repository shows what it showed before.
///
/// A push that was killed goes on where it stopped: the hub says which contents it has.
struct Push {
    let client: HubClient
    let name: HubName
    let folder: PushFolder
    let isPrivate: Bool
    let summary: String

    private var environment: HubEnvironment { client.environment }
    private var revision: String { name.revision ?? HubName.mainBranch }
    private var page: String { client.settings.base + "/" + name.id }
    /// The largest file, in bytes, that is sent inside the commit's own body.
    private static let largestInCommit: Int64 = 32 << 20
    private static let sampleBytes = 512
    /// Files that one request asks about.
    private static let batch = 256

    /// A file's failure, with its name.
    struct FileFailure: Error {
        let file: String
        let error: any Error
    }

    /// A file, and how the hub stores it.
    private struct Entry {
        let file: PushFolder.File
        var isLarge = false
        /// The check sum that the hub has for this path: SHA-256 of a large file, git's SHA-1 of a small one; nil where it has no such file.
        var remote: String?
        /// The same check sum of the file here.
        var local = ""
        var isUnchanged: Bool { remote == local }
    }

    func run() throws -> PushResult {
        try makeRepository()
        var entries = try plan()
        let large = entries.indices.filter { entries[$0].isLarge }
        environment.report(.pushing(name: name.id, files: entries.count, bytes: folder.bytes))
        let all = large.reduce(0) { $0 + entries[$1].file.bytes }
        var (before, sent): (Int64, Int64) = (0, 0)
        for index in entries.indices {
            let file = entries[index].file
            do {
                let reader = try environment.files.open(file.place)
                guard Int64(reader.count) == file.bytes else { throw Self.changed(file) }
                entries[index].local = try contentName(file, reader, isLarge: entries[index].isLarge)
                guard entries[index].isLarge else { continue }
                defer { before += file.bytes }
                if entries[index].isUnchanged { continue }
                let start = before
                let upload = LargeUpload(client: client, name: name, revision: revision, file: file, reader: reader, sum: entries[index].local) {
                    environment.report(.progress(file: file.path, done: $0, of: file.bytes, allDone: start + $0, all: all))
                }
                let went = try upload.run()
                if went { sent += file.bytes }
                environment.report(went ? .sent(file: file.path, bytes: file.bytes) : .present(file: file.path, bytes: file.bytes))
            } catch let error as LorikeetError {
                throw error
            } catch {
                throw FileFailure(file: file.path, error: error)
            }
        }
        let removed = try staleWeights()
        let changed = entries.filter { !$0.isUnchanged }
        let commit = changed.isEmpty && removed.isEmpty ? nil : try commit(changed, removed)
        return PushResult(
            name: name, commit: commit, page: page, files: entries.count, bytes: folder.bytes, sentBytes: sent, changed: changed.map(\.file.path),
            removed: removed)
    }

    private static func changed(_ file: PushFolder.File) -> LorikeetError {
        .input("the file has changed while it was uploaded", at: file.place, fix: "let the program that writes it finish, and run the same command again")
    }

    private func send(_ path: String, _ body: JSON, shown: String) throws -> JSON {
        let bytes = Array(body.serialized().utf8)
        let answer = try client.retrying(shown, environment.policy) {
            try client.submit("POST", client.address(path), body: BytesBody(bytes), headers: ["Content-Type: application/json"], authorized: true).body
        }
        return answer.isEmpty ? .null : try client.document(answer)
    }

    // MARK: the repository

    private func makeRepository() throws {
        let parts = name.id.pathParts
        var request: JSONObject = ["name": .string(parts[1]), "organization": .string(parts[0]), "type": "model"]
        if isPrivate { request["visibility"] = "private" }
        var refusal: HubRefusal?
        do {
            _ = try send("/api/repos/create", .object(request), shown: name.id)
        } catch let error as HubRefusal where [401, 402, 403, 409].contains(error.head.status) {
            // It is there, or may only be made by another: a token for one repository alone is enough to write to that.
            refusal = error
        }
        guard refusal != nil || isPrivate else { return }
        let found: JSON
        do {
            found = try client.json("/api/models/\(name.id)", shown: name.id, policy: environment.policy)
        } catch {
            throw refusal.map { $0.head.status == 409 ? error : $0 } ?? error
        }
        // Nothing goes to a public repository that was to be private, whatever protocol the hub speaks.
        guard !isPrivate || found["private"]?.bool == true else {
            throw LorikeetError.input(
                "the repository is public, and --private asks for a private one; nothing was uploaded", at: name.id,
                fix: "make it private in its settings (\(page)/settings), choose another name, or leave --private out")
        }
    }

    /// Asks the hub how each file is stored: in the commit itself, or by Git LFS.
    private func plan() throws -> [Entry] {
        var entries: [Entry] = []
        for start in stride(from: 0, to: folder.files.count, by: Self.batch) {
            let files = folder.files[start..<min(folder.files.count, start + Self.batch)]
            let described = try files.map { file -> JSON in
                ["path": .string(file.path), "sample": .string(Base64.encode(try sample(file))), "size": .integer(file.bytes)]
            }
            let path = "/api/models/\(name.id)/preupload/\(WebAddress.escaped(revision))"
            let answer = try send(path, ["files": .array(described)], shown: name.id)["files"]?.array ?? []
            let modes = Dictionary(answer.compactMap { entry in entry["path"]?.string.map { ($0, entry) } }) { $1 }
            for file in files {
                guard let said = modes[file.path], let mode = said["uploadMode"]?.string, ["lfs", "regular"].contains(mode) else {
                    throw HTTPFailure.failed("it does not say how \(file.path) is uploaded")
                }
                if said["shouldIgnore"]?.bool == true {
                    environment.report(.warning("\(file.path) is left out: the repository's .gitignore excludes it"))
                    continue
                }
                // An empty file has no place in the storage, a large one none in a commit.
                let isLarge = file.bytes > 0 && (mode == "lfs" || file.bytes > Self.largestInCommit)
                entries.append(Entry(file: file, isLarge: isLarge, remote: said["oid"]?.string))
            }
        }
        return entries
    }

    private func sample(_ file: PushFolder.File) throws -> [UInt8] {
        let reader = try environment.files.open(file.place)
        var bytes = [UInt8](repeating: 0, count: min(Self.sampleBytes, reader.count))
        try bytes.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
        return bytes
    }

    /// SHA-256 of a large file, git's SHA-1 of a small one.
    private func contentName(_ file: PushFolder.File, _ reader: any FileReader, isLarge: Bool) throws -> String {
        if isLarge { environment.report(.hashing(file: file.path, bytes: file.bytes)) }
        var digest = ContentDigest(isLarge ? .sha256 : .sha1)
        if !isLarge { digest.add("blob \(reader.count)\0") }
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { piece.deallocate() }
        for offset in stride(from: 0, to: reader.count, by: piece.count) {
            guard !environment.shouldStop() else { throw HTTPFailure.stopped }
            let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, reader.count - offset)])
            try reader.read(at: offset, into: part)
            digest.add(UnsafeRawBufferPointer(part))
        }
        return digest.finish()
    }

    /// Weights of an earlier model in the repository that the new ones leave there: readers would find both, or an index of shards that are gone.
    private func staleWeights() throws -> [String] {
        let here = Set(folder.files.map(\.path))
        guard here.contains("config.json") else { return [] }
        let path = "/api/models/\(name.id)/revision/\(WebAddress.escaped(revision))"
        let listed = try client.json(path, shown: name.id, policy: environment.policy)["siblings"]?.array ?? []
        return listed.compactMap { $0["rfilename"]?.string }.filter { path in
            !here.contains(path) && path.wholeMatch(of: /model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?/) != nil
        }.sorted()
    }

    // MARK: the commit

    private func commit(_ changed: [Entry], _ removed: [String]) throws -> String? {
        var lines: [JSON] = [["key": "header", "value": ["summary": .string(summary), "description": ""]]]
        for entry in changed {
            let path = JSON.string(entry.file.path)
            if entry.isLarge {
                let value: JSON = ["path": path, "algo": "sha256", "oid": .string(entry.local), "size": .integer(entry.file.bytes)]
                lines.append(["key": "lfsFile", "value": value])
            } else {
                let bytes = try environment.files.read(entry.file.place)
                guard Int64(bytes.count) == entry.file.bytes else { throw Self.changed(entry.file) }
                lines.append(["key": "file", "value": ["content": .string(Base64.encode(bytes)), "path": path, "encoding": "base64"]])
            }
        }
        lines += removed.map { ["key": "deletedFile", "value": ["path": .string($0)]] }
        let bytes = Array((lines.map { $0.serialized() }.joined(separator: "\n") + "\n").utf8)
        let address = try client.address("/api/models/\(name.id)/commit/\(WebAddress.escaped(revision))")
        let answer = try client.retrying("the commit", environment.policy) {
            try client.submit("POST", address, body: BytesBody(bytes), headers: ["Content-Type: application/x-ndjson"], authorized: true).body
        }
        return try client.document(answer)["commitOid"]?.string
    }
}
