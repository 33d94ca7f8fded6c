import LorikeetGround
import LorikeetJSON

/// One download: asks the hub what there is, chooses, checks the disk, fetches what is missing.
struct Pull {
    let hub: Hub
    let client: HubClient
    let cache: HubCache
    let name: HubName

    /// A failure over one file.
    struct FileFailure: Error {
        let error: any Error
        let file: String
    }

    /// A file that is to be fetched.
    private struct Missing {
        let path: String
        let tag: FileTag
    }

    private var environment: HubEnvironment { client.environment }
    private var revision: String { name.revision ?? HubName.mainBranch }
    /// Bytes of the disk that a download leaves free.
    private static let reserve: Int64 = 64 << 20

    /// Fetches what the snapshot lacks of the files that are needed.
    func run(_ listing: RepositoryListing) throws -> HubSnapshot {
        let (choice, small) = try fetchSmall(listing)
        let fetched = try small + fetch(choice.weights, listing)
        let all = Set(choice.files + choice.weights).sorted()
        do {
            try cache.setCommit(listing.commit, of: revision)
        } catch let error as LorikeetError where fetched == 0 {
            // A cache that may only be read needs no note where nothing was fetched.
            environment.report(.warning("the commit of \(name.id) could not be recorded in the cache: \(error)"))
        }
        return snapshot(choice, all, listing, fetched)
    }

    /// Fetches what the snapshot lacks beside the weights. Weights that are not there stay on the hub, and the cache does not say that the revision is
    /// there: offline, the commit before it may be whole.
    func runWithoutWeights(_ listing: RepositoryListing) throws -> (snapshot: HubSnapshot, unfetched: [UnfetchedFile]) {
        let (choice, fetched) = try fetchSmall(listing)
        let all = Set(choice.files + choice.weights).sorted()
        let absent = choice.weights.filter { !isThere($0, listing) }
        if !absent.isEmpty { environment.report(.headers(name: name.id, files: absent.count)) }
        let unfetched = try absent.map { path in
            let size = try failing(path) { try tag(of: path, listing).size }
            guard let size, let count = Int(exactly: size) else {
                throw LorikeetError.machine("the hub does not say how long the file is", at: "\(name.id)/\(path)", fix: "fetch the model first: lorikeet pull")
            }
            return UnfetchedFile(path: cache.snapshot(listing.commit) + "/" + path, byteCount: count) { range in
                try failing(path) {
                    try client.piece(
                        of: address(path, listing.commit), Int64(range.lowerBound)..<Int64(range.upperBound), shown: "\(name.id)/\(path)",
                        policy: environment.policy)
                }
            }
        }
        return (snapshot(choice, all, listing, fetched), unfetched)
    }

    /// What is small comes first: it says which weights are needed, and whether the model can be used.
    private func fetchSmall(_ listing: RepositoryListing) throws -> (choice: NeededFiles.Choice, fetched: Int64) {
        let folder = cache.snapshot(listing.commit)
        let needed = NeededFiles(name: name, settings: client.settings, files: environment.files)
        var choice = try needed.choose(listing.files.map { ($0.path, $0.size) })
        let weights = Set(choice.weights)
        let fetched = try fetch(choice.files.filter { !weights.contains($0) }, listing)
        choice.weights += try needed.shards(of: choice, folder: folder)
        if name.kind == .model, choice.opened == nil { try hub.beforeWeights?(folder) }
        return (choice, fetched)
    }

    private func snapshot(_ choice: NeededFiles.Choice, _ all: [String], _ listing: RepositoryListing, _ fetched: Int64) -> HubSnapshot {
        let bytes = all.reduce(0) { $0 + (cache.byteCount($1, commit: listing.commit) ?? 0) }
        var snapshot = hub.snapshot(name, listing.commit, choice, all, bytes: bytes, folder: cache.snapshot(listing.commit))
        snapshot.fetchedBytes = fetched
        return snapshot
    }

    /// What the hub has at the revision.
    func listing(_ policy: RetryPolicy) throws -> RepositoryListing {
        let base = "/api/\(name.kind.plural)/\(name.id)"
        let atRevision = base + "/revision/" + WebAddress.escaped(revision)
        // Some hubs do not support `blobs=true`, or list the main branch only.
        let paths = [atRevision + "?blobs=true", atRevision] + (name.revision == nil ? [base + "?blobs=true", base] : [])
        var first: HubRefusal?
        for path in paths {
            do {
                return try RepositoryListing(client.json(path, shown: name.id, policy: policy), name: name, source: client.settings.base + path)
            } catch let refusal as HubRefusal where [400, 404].contains(refusal.head.status) && refusal.head["x-error-code"] == nil {
                first = first ?? refusal
            }
        }
        throw first ?? HTTPFailure.failed("the hub lists nothing")
    }

    /// Fetches those of `paths` that the snapshot lacks.
    ///
    /// - Returns: bytes that came.
    private func fetch(_ paths: [String], _ listing: RepositoryListing) throws -> Int64 {
        let missing = try paths.filter { !isThere($0, listing) }.map { path in
            try failing(path) { Missing(path: path, tag: try tag(of: path, listing)) }
        }
        guard !missing.isEmpty else { return 0 }
        // Contents that another revision brought, and parts of earlier attempts, are there already.
        let sizes = missing.map { item -> (all: Int64, left: Int64) in
            let size = item.tag.size ?? 0
            let kept = [cache.blob(item.tag.tag), cache.partial(item.tag.tag)].first(where: environment.files.exists).flatMap {
                try? environment.files.byteCount(of: $0)
            }
            return (size, max(0, size - Int64(kept ?? 0)))
        }
        let all = sizes.reduce(Int64(0)) { $0.addingReportingOverflow($1.all).partialValue }
        try requireSpace(sizes.map(\.left), files: missing.count)
        environment.report(.fetching(name: name.id, files: missing.count, bytes: all))
        var before: Int64 = 0
        var came: Int64 = 0
        for (item, size) in zip(missing, sizes) {
            came += try failing(item.path) { try fetch(item, listing.commit, before: before, all: all) }
            before += size.all
        }
        return came
    }

    private func failing<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch {
            throw FileFailure(error: error, file: "\(name.id)/\(path)")
        }
    }

    /// Whether a snapshot has a file, of the size that the hub says.
    private func isThere(_ path: String, _ listing: RepositoryListing) -> Bool {
        guard let bytes = cache.byteCount(path, commit: listing.commit) else { return false }
        return listing.file(path)?.size.map { $0 == bytes } ?? true
    }

    /// - Throws: exit 3 where the disk has less room than is left to fetch.
    private func requireSpace(_ left: [Int64], files: Int) throws {
        let need = left.reduce(Int64(0)) { sum, bytes in
            let (total, overflow) = sum.addingReportingOverflow(bytes)
            return overflow ? .max : total
        }
        let free = try environment.files.freeBytes(at: cache.root)
        guard need <= max(0, free - Self.reserve) else {
            throw LorikeetError(
                .doesNotFit, "\(Units.formatBytes(need)) are to be fetched (\(files) files of \(name.id)) and the disk has \(Units.formatBytes(free)) free",
                at: cache.root, fix: "free some space, or name a folder on a larger disk in HF_HOME")
        }
    }

    /// A file's address below the endpoint, at the commit.
    private func address(_ path: String, _ commit: String) -> String {
        (name.kind == .dataset ? "/datasets/" : "/") + name.id + "/resolve/\(WebAddress.escaped(commit))/" + WebAddress.escaped(path, slashes: true)
    }

    /// The tag and size of a file: the hub's answer about it, held to its listing.
    private func tag(of path: String, _ listing: RepositoryListing) throws -> FileTag {
        guard let listed = listing.file(path) else {
            throw LorikeetError.input("the model's index names \(path), which the hub does not list", at: name.id, fix: "name another revision")
        }
        let head = try client.head(address(path, listing.commit), shown: "\(name.id)/\(path)", policy: environment.policy)
        var tag = head["x-linked-etag"] ?? head["etag"] ?? listed.hash ?? ""
        if tag.hasPrefix("W/") { tag.removeFirst(2) }
        tag.removeAll { $0 == "\"" }
        guard RepositoryListing.isTag(tag) else {
            throw LorikeetError.machine("the hub gives the file no tag (ETag) that can be used", at: "\(name.id)/\(path)", fix: "use another hub")
        }
        let isRedirect = (300..<400).contains(head.status)
        let size = (head["x-linked-size"] ?? (isRedirect ? nil : head["content-length"])).flatMap { Int64($0) }
        if let size, let other = listed.size, size != other {
            throw LorikeetError.machine(
                "the hub lists \(other) bytes and answers with \(size)", at: "\(name.id)/\(path)", fix: "run the same command again, or use another hub")
        }
        if let hash = listed.hash, hash.utf8.count == tag.utf8.count, FileTag(tag: tag, size: nil).hash != nil, hash != tag {
            throw LorikeetError.machine(
                "the hub lists the hash \(hash) and answers with \(tag)", at: "\(name.id)/\(path)", fix: "run the same command again, or use another hub")
        }
        return FileTag(tag: tag, size: (size ?? listed.size).flatMap { $0 < 0 ? nil : $0 })
    }

    /// Fetches one file, unless another process or revision has.
    private func fetch(_ item: Missing, _ commit: String, before: Int64, all: Int64) throws -> Int64 {
        let shown = "\(name.id)/\(item.path)"
        let (report, files) = (environment.report, environment.files)
        var waited = false
        let lock = try cache.lock(item.tag.tag) {
            if !waited { report(.locked(file: shown)) }
            waited = true
            guard !environment.shouldStop() else { throw HTTPFailure.stopped }
            environment.sleep(0.2)
        }
        defer { withExtendedLifetime(lock) {} }
        let blob = cache.blob(item.tag.tag)
        var came: Int64 = 0
        if files.exists(blob), try !isWhole(blob, item.tag) { try files.remove(blob) }
        if !files.exists(blob) {
            var first: Int64?
            var last: Int64 = 0
            try FileDownload(
                client: client, cache: cache, address: address(item.path, commit), shown: shown, tag: item.tag,
                progress: { done in
                    first = first ?? done
                    last = done
                    report(.progress(file: shown, done: done, of: item.tag.size, allDone: before + done, all: all))
                }
            ).run()
            came = last
            report(.fetched(file: shown, bytes: last))
        }
        try cache.link(item.path, commit: commit, tag: item.tag.tag)
        return came
    }

    private func isWhole(_ blob: String, _ tag: FileTag) throws -> Bool {
        guard let size = tag.size else { return true }
        return try Int64(environment.files.byteCount(of: blob)) == size
    }
}
