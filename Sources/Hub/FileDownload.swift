import LorikeetGround

/// What the hub says of one file before it is fetched.
struct FileTag: Sendable, Equatable {
    /// The content's name in the cache.
    let tag: String
    let size: Int64?

    /// The hash that the content has to have, where the tag is one.
    var hash: ContentDigest.Kind? {
        guard tag.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }) else {
            return nil
        }
        return switch tag.utf8.count {
        case 64: .sha256
        case 40: .sha1
        default: nil
        }
    }
}

/// Fetches one content into the cache: goes on with what an earlier attempt left, checks size and hash, and gives the content its name only
/// when both are right.
struct FileDownload {
    let client: HubClient
    let cache: HubCache
    /// The file's path below the endpoint.
    let address: String
    /// For messages: `ORG/NAME/model.safetensors`.
    let shown: String
    let tag: FileTag
    /// Called with the bytes of the file so far.
    let progress: (Int64) -> Void

    private var files: any Files { client.environment.files }

    /// What makes a partial file worthless.
    private struct StartAgain: Error { let why: String }

    /// Fetches the content. The caller holds its lock.
    ///
    /// - Throws: exit 4 where the content is not what the hub promises, or the disk is full; `HTTPFailure` and `HubRefusal` for the connection. What
    ///   has come stays for the next attempt.
    func run() throws {
        let partial = cache.partial(tag.tag)
        try files.createDirectory(HubCache.parent(of: partial))
        // Without a hash nothing would show that a partial file is of another content.
        if tag.hash == nil { try files.remove(partial) }
        for attempt in 1... {
            do {
                var digest = try fetch(into: partial)
                try verify(&digest, partial)
                break
            } catch let again as StartAgain {
                try files.remove(partial)
                guard attempt < 3 else {
                    throw LorikeetError.machine(again.why, at: shown, fix: "run the same command again; if it stays, the hub's file is damaged")
                }
                client.environment.report(.warning("\(shown): \(again.why); it is fetched again from its beginning"))
            }
        }
        try files.rename(partial, to: cache.blob(tag.tag))
    }

    private func kept(_ partial: String) throws -> Int64 { files.exists(partial) ? Int64(try files.byteCount(of: partial)) : 0 }

    /// Brings the partial file to its full length.
    private func fetch(into partial: String) throws -> ContentDigest {
        var digest = ContentDigest(.sha256)
        var have = try kept(partial)
        if let size = tag.size, have > size {
            try files.remove(partial)
            have = 0
        }
        if have > 0 {
            try addKept(partial, have, to: &digest)
            client.environment.report(.resumed(file: shown, at: have))
        }
        let writer = PartialWriter(files: files, path: partial, tag: tag, have: have, digest: digest, progress: progress)
        var before = have
        // An attempt that brings 1 MiB or more starts the count of attempts anew; a connection that keeps breaking after less is given up.
        func progressed() -> Bool {
            defer { before = writer.have }
            return writer.have - before >= 1 << 20
        }
        try client.retrying(shown, client.environment.policy, progressed: progressed) {
            if let size = tag.size, writer.have == size, size > 0 { return }
            let range = writer.have > 0 ? ["Range: bytes=\(writer.have)-"] : []
            defer { writer.close() }
            do {
                _ = try client.send(client.address(address), headers: range, taker: writer)
            } catch let refusal as HubRefusal where refusal.head.status == 416 {
                throw StartAgain(why: "the server has no byte \(writer.have) of the file")
            }
            try writer.finish()
            if let size = tag.size, writer.have < size {
                throw HTTPFailure.broken("\(writer.have) of \(size) bytes came")
            }
        }
        return writer.digest
    }

    private func addKept(_ partial: String, _ count: Int64, to digest: inout ContentDigest) throws {
        let file = try files.map(partial)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { piece.deallocate() }
        for offset in stride(from: 0, to: Int(count), by: piece.count) {
            guard !client.environment.shouldStop() else { throw HTTPFailure.stopped }
            let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, Int(count) - offset)])
            try file.read(at: offset, into: part)
            digest.add(UnsafeRawBufferPointer(part))
        }
    }

    private func verify(_ digest: inout ContentDigest, _ partial: String) throws {
        let count = try kept(partial)
        if let size = tag.size, count != size { throw StartAgain(why: "\(count) bytes came, and the hub says \(size)") }
        switch tag.hash {
        case .sha256:
            let sum = digest.finish()
            guard sum == tag.tag else { throw StartAgain(why: "the content has the SHA-256 \(sum), and the hub says \(tag.tag)") }
        case .sha1:
            // Git's name of a content; some hubs give the plain sum.
            var (git, plain) = (ContentDigest(.sha1), ContentDigest(.sha1))
            git.add("blob \(count)\0")
            if count > 0 {
                try addKept(partial, count, to: &git)
                try addKept(partial, count, to: &plain)
            }
            let sum = git.finish()
            guard sum == tag.tag || plain.finish() == tag.tag else {
                throw StartAgain(why: "the content has git's SHA-1 \(sum), and the hub says \(tag.tag)")
            }
        case nil: break
        }
    }
}

/// Appends a response's body to a partial file.
private final class PartialWriter: BodyTaker {
    private let files: any Files
    private let path: String
    private let tag: FileTag
    private let progress: (Int64) -> Void
    private(set) var have: Int64
    private(set) var digest: ContentDigest
    private var writer: (any FileWriter)?
    /// The most bytes that a file may have whose size neither hub nor server gives.
    private static let mostUnsaid: Int64 = 1 << 30

    init(files: any Files, path: String, tag: FileTag, have: Int64, digest: ContentDigest, progress: @escaping (Int64) -> Void) {
        (self.files, self.path, self.tag, self.have, self.digest, self.progress) = (files, path, tag, have, digest, progress)
    }

    func begin(_ head: HTTPHead) throws {
        let length = head["content-length"].flatMap { Int64($0) }
        if head.status == 206 {
            guard let range = head["content-range"]?.wholeMatch(of: /bytes (\d{1,18})-\d{1,18}\/(\d{1,18}|\*)/), Int64(range.1) == have else {
                throw FileDownload.unfit("the server sends another part of the file than was asked for")
            }
            try check(total: Int64(range.2))
            writer = try files.openAppending(path)
        } else {
            try check(total: length)
            // The whole file comes, asked for or not.
            writer = try files.create(path)
            have = 0
            digest = ContentDigest(.sha256)
        }
    }

    private func check(total: Int64?) throws {
        guard let total, let size = tag.size, total != size else { return }
        throw FileDownload.unfit("the server sends a file of \(total) bytes, and the hub says \(size)")
    }

    func take(_ bytes: UnsafeRawBufferPointer) throws {
        guard have + Int64(bytes.count) <= tag.size ?? Self.mostUnsaid else {
            throw FileDownload.unfit("more bytes come than the \(tag.size ?? Self.mostUnsaid) that the file has")
        }
        try writer?.write(bytes)
        digest.add(bytes)
        have += Int64(bytes.count)
        progress(have)
    }

    /// Brings what has come to the disk.
    func finish() throws {
        if writer == nil, have == 0 { writer = try files.create(path) }
        try writer?.sync()
        try writer?.close()
        writer = nil
    }

    /// After a failure: what has come stays.
    func close() {
        try? writer?.sync()
        try? writer?.close()
        writer = nil
    }
}

extension FileDownload {
    /// A partial file cannot be gone on with.
    fileprivate static func unfit(_ why: String) -> any Error { StartAgain(why: why) }
}
