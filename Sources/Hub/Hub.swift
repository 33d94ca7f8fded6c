import LorikeetGround
import LorikeetJSON

/// A model or data set on this machine, in the hub's cache.
package struct HubSnapshot: Sendable, Equatable {
    package let name: HubName
    package let commit: String
    /// The snapshot's folder.
    package let folder: String
    /// The files that are needed, as paths in the folder.
    package let files: [String]
    /// Their bytes.
    package let bytes: Int64
    /// Bytes that came over the network this time.
    package var fetchedBytes: Int64 = 0
    /// What a program opens: the folder, the GGUF file (its first part), or the first file of training records.
    package let path: String
    /// Of a data set, the files of training and validation records.
    package var train: [String] = []
    package var validation: [String] = []
}

/// A file of weights that is on the hub alone. Its parts can be read.
package struct UnfetchedFile {
    /// Its path in the snapshot, where nothing is yet.
    package let path: String
    package let byteCount: Int
    /// The bytes of a part of the file. Nothing of it is kept; no hash shows that it is right.
    package let read: (Range<Int>) throws -> [UInt8]
}

/// A Hugging Face-compatible hub and the cache of its files, shared with Python's huggingface_hub.
///
///     let hub = Hub(try HubSettings(environment: environment))
///     let model = try hub.pull(HubName("Qwen/Qwen3-0.6B", kind: .model))
///     print(model.path)
package struct Hub {
    package let settings: HubSettings
    let environment: HubEnvironment
    let client: HubClient
    /// Called with a folder that holds a model's configuration and tokenizer, before its weights are fetched: an error of it ends the download.
    package var beforeWeights: ((String) throws -> Void)?

    package init(_ settings: HubSettings, _ environment: HubEnvironment = HubEnvironment()) {
        (self.settings, self.environment) = (settings, environment)
        client = HubClient(settings, environment)
    }

    private func cache(_ name: HubName) -> HubCache { HubCache(name, root: settings.cacheFolder, files: environment.files) }

    /// The files of a model or data set: those that are missing are fetched, at the revision's newest commit. Offline, those of the cache.
    ///
    /// - Throws: exit 2 where the hub lacks it or refuses access, or where it holds nothing that can be read; 3 where the disk is too small; 4 where hub,
    ///   connection or disk fail; 75 when stopped. What has come stays, and the next call goes on with it.
    package func pull(_ name: HubName) throws -> HubSnapshot {
        guard !settings.offline else { return try cached(name) }
        return try fetch(name, kept: nil)
    }

    /// As `pull`, but what the cache has is used, with a warning, where the hub cannot be asked.
    package func find(_ name: HubName) throws -> HubSnapshot {
        guard !settings.offline else { return try cached(name) }
        return try fetch(name, kept: try? cached(name))
    }

    /// As `find`, but a model's weights that the cache has not are left on the hub, and returned beside the snapshot. Their parts can be read as long as
    /// the hub answers.
    package func findWithoutWeights(_ name: HubName) throws -> (snapshot: HubSnapshot, unfetched: [UnfetchedFile]) {
        guard !settings.offline else { return (try cached(name), []) }
        let failures = failures(name)
        let found: (snapshot: HubSnapshot, unfetched: [UnfetchedFile]) = try fetch(name, kept: try? cached(name)) {
            try $0.runWithoutWeights($1)
        } useKept: {
            ($0, [])
        }
        let unfetched = found.unfetched.map { file in
            UnfetchedFile(path: file.path, byteCount: file.byteCount) { range in
                do { return try file.read(range) } catch let failure as Pull.FileFailure { throw failures.error(failure.error, file: failure.file) }
            }
        }
        return (found.snapshot, unfetched)
    }

    private func fetch(_ name: HubName, kept: HubSnapshot?) throws -> HubSnapshot {
        try fetch(name, kept: kept) {
            try $0.run($1)
        } useKept: {
            $0
        }
    }

    /// - Parameters:
    ///   - kept: what the cache has, for where the hub cannot be asked.
    ///   - run: the download, once the hub has been asked.
    ///   - useKept: makes the result of `kept`.
    private func fetch<Result>(
        _ name: HubName, kept: HubSnapshot?, run: (Pull, RepositoryListing) throws -> Result, useKept: (HubSnapshot) -> Result
    ) throws -> Result {
        for warning in settings.warnings { environment.report(.warning(warning)) }
        let pull = Pull(hub: self, client: client, cache: cache(name), name: name)
        let failures = failures(name)
        let listing: RepositoryListing
        do {
            // Where the cache has everything, an unreachable hub is asked once only, without waiting.
            listing = try pull.listing(kept == nil ? environment.policy : RetryPolicy(attempts: 1))
        } catch {
            let error = failures.error(error)
            guard let kept, error.exit != .stoppedEarly else { throw error }
            environment.report(.warning("\(name.id) is taken from the cache (commit \(kept.commit.prefix(12))), because the hub could not be asked: \(error)"))
            return useKept(kept)
        }
        do {
            return try run(pull, listing)
        } catch let failure as Pull.FileFailure {
            throw failures.error(failure.error, file: failure.file)
        } catch {
            throw failures.error(error)
        }
    }

    /// What the cache holds of a name, without a hub.
    ///
    /// - Throws: exit 2 where a file that is needed is not there.
    package func cached(_ name: HubName) throws -> HubSnapshot {
        let cache = cache(name)
        let revision = name.revision ?? HubName.mainBranch
        func absent(_ what: String) -> LorikeetError {
            .input(
                "\(what) in the cache \(settings.cacheFolder)" + (settings.offline ? ", and HF_HUB_OFFLINE, which is set, forbids downloads" : ""),
                at: name.description,
                fix: settings.offline ? "unset HF_HUB_OFFLINE, or run lorikeet pull where there is a connection" : "run lorikeet pull")
        }
        guard let commit = try cache.commit(of: revision) else { throw absent("this \(name.kind.words) is not") }
        // A link whose content is gone counts as missing.
        let sizes = try cache.paths(commit: commit).compactMap { path in cache.byteCount(path, commit: commit).map { (path, Optional($0)) } }
        guard !sizes.isEmpty else { throw absent("this \(name.kind.words) is not") }
        let needed = NeededFiles(name: name, settings: settings, files: environment.files)
        let folder = cache.snapshot(commit)
        let there = Dictionary(sizes.map { ($0.0, $0.1 ?? 0) }) { $1 }
        if name.kind == .model, sizes.allSatisfy({ ModelChoice.isNeeded($0.0) && $0.0 != ModelChoice.index }) { throw absent("its weights are not") }
        let choice = try needed.choose(sizes)
        let all = try Set(choice.files + needed.shards(of: choice, folder: folder)).sorted()
        for path in all where there[path] == nil { throw absent("its file \(path) is not") }
        if name.kind == .model, case .directory(let beside, _) = choice.model {
            guard beside.contains("config.json") || beside.contains("adapter_config.json") else { throw absent("its config.json is not") }
            let tokenizers: Set<String> = ["tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "sentencepiece.bpe.model"]
            guard beside.contains("adapter_config.json") || !tokenizers.isDisjoint(with: beside) else { throw absent("its tokenizer is not") }
        }
        return snapshot(name, commit, choice, all, bytes: all.reduce(0) { $0 + (there[$1] ?? 0) }, folder: folder)
    }

    func snapshot(_ name: HubName, _ commit: String, _ choice: NeededFiles.Choice, _ files: [String], bytes: Int64, folder: String) -> HubSnapshot {
        HubSnapshot(
            name: name, commit: commit, folder: folder, files: files, bytes: bytes, path: choice.opened.map { folder + "/" + $0 } ?? folder,
            train: choice.train.map { folder + "/" + $0 }, validation: choice.validation.map { folder + "/" + $0 })
    }

    /// The commit whose snapshot the paths of `kept` lie in, where they belong to `name`; nil for others.
    package static func commit(of name: HubName, in kept: [String]) -> String? {
        let folder = "/" + HubCache.folderName(name) + "/snapshots/"
        for path in kept {
            guard let range = path.firstRange(of: folder) else { continue }
            let commit = String(path[range.upperBound...].prefix { $0 != "/" })
            if RepositoryListing.isTag(commit) { return commit }
        }
        return nil
    }

    /// Whether a folder is a snapshot in a hub's cache.
    package static func isSnapshot(_ folder: String) -> Bool { folder.contains(/\/(models|datasets)--[^\/]+\/snapshots\/[^\/]+\/?$/) }

    /// Whether a file or folder is a snapshot in a hub's cache, or in one.
    package static func isInSnapshot(_ path: String) -> Bool { path.contains(/\/(models|datasets)--[^\/]+\/snapshots\/[^\/]+(\/|$)/) }

    /// Of a repository's folder in a cache, the snapshot that its main branch stood for last; nil for another folder.
    package static func newestSnapshot(in folder: String, files: any Files) -> String? {
        guard let commit = try? files.readText(folder + "/refs/" + HubName.mainBranch), RepositoryListing.isTag(commit) else { return nil }
        let snapshot = folder + "/snapshots/" + commit
        return files.isDirectory(snapshot) ? snapshot : nil
    }

    private func failures(_ name: HubName) -> HubFailures {
        HubFailures(
            name: name, settings: settings, near: { near(name) },
            isOtherKind: {
                let other = name.kind == .model ? HubName.Kind.dataset : .model
                return (try? client.json("/api/\(other.plural)/\(name.id)", shown: name.id, policy: RetryPolicy(attempts: 1))) != nil
            })
    }

    /// Names that `name` may be a slip of: what the hub has of the same owner or of a like name, and what the cache holds. Best effort.
    private func near(_ name: HubName) -> [String] {
        let prefix = name.kind.plural + "--"
        let kept = ((try? environment.files.list(settings.cacheFolder)) ?? []).filter { $0.hasPrefix(prefix) }
        var found = kept.map { $0.dropFirst(prefix.count).replacing("--", with: "/", maxReplacements: 1) }.map { String($0) }
        let pieces = name.id.pathParts
        let queries = [pieces.count > 1 ? "author=" + WebAddress.escaped(pieces[0]) : nil, "search=" + WebAddress.escaped(pieces.last ?? "")]
        for query in queries.compactMap({ $0 }) {
            let list = try? client.json("/api/\(name.kind.plural)?\(query)&limit=500", shown: name.id, policy: RetryPolicy(attempts: 1))
            found += (list?.array ?? []).prefix(500).compactMap { $0["id"]?.string ?? $0["modelId"]?.string }
        }
        return found
    }
}
