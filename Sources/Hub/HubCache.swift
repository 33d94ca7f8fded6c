import LorikeetGround

/// A repository's folder in the cache, laid out as Python's huggingface_hub has it, so that either finds what the other fetched:
///
///     models--ORG--NAME/
///       refs/main                     the commit that a branch or tag stood for
///       blobs/TAG                     contents, by the tag that the hub gives them (a hash)
///       snapshots/COMMIT/config.json  → ../../blobs/TAG
///     .locks/models--ORG--NAME/TAG.lock
struct HubCache {
    let root: String
    let folder: String
    private let locks: String
    private let files: any Files

    init(_ name: HubName, root: String, files: any Files) {
        let own = Self.folderName(name)
        (self.root, self.files) = (root, files)
        folder = root + "/" + own
        locks = root + "/.locks/" + own
    }

    /// `models--ORG--NAME`
    static func folderName(_ name: HubName) -> String { name.kind.plural + "--" + name.id.pathParts.joined(separator: "--") }

    func snapshot(_ commit: String) -> String { folder + "/snapshots/" + commit }
    func blob(_ tag: String) -> String { folder + "/blobs/" + tag }
    /// A content that has not come whole yet.
    func partial(_ tag: String) -> String { blob(tag) + ".incomplete" }

    /// The commit of a revision as far as the cache knows: of a branch or tag the last one that was fetched. nil where it knows none.
    func commit(of revision: String) throws -> String? {
        if files.isDirectory(snapshot(revision)), RepositoryListing.isTag(revision) { return revision }
        let ref = folder + "/refs/" + revision
        guard files.exists(ref), !files.isDirectory(ref) else { return nil }
        let commit = try files.readText(ref).filter { !$0.isWhitespace }
        return RepositoryListing.isTag(commit) && files.isDirectory(snapshot(commit)) ? commit : nil
    }

    /// Notes the commit of a branch or tag, whole or not at all; another process may do the same.
    func setCommit(_ commit: String, of revision: String) throws {
        let ref = folder + "/refs/" + revision
        guard revision != commit, try !files.exists(ref) || files.readText(ref) != commit else { return }
        let lock = try lock("refs-" + revision.replacing("/", with: "-")) {}
        defer { withExtendedLifetime(lock) {} }
        try files.createDirectory(Self.parent(of: ref))
        try files.writeDurably(commit, to: ref)
    }

    /// The bytes of a snapshot's file; nil where it is missing, or a link whose content is gone.
    func byteCount(_ path: String, commit: String) -> Int64? {
        let place = snapshot(commit) + "/" + path
        return files.exists(place) ? (try? files.byteCount(of: place)).map(Int64.init) : nil
    }

    /// All files of a snapshot, as paths in it.
    func paths(commit: String) throws -> [String] { try FolderListing.paths(in: snapshot(commit), files: files) }

    /// Gives a content its name in a snapshot: a relative link, or, where the disk has no links, the content itself.
    func link(_ path: String, commit: String, tag: String) throws {
        let place = snapshot(commit) + "/" + path
        try files.createDirectory(Self.parent(of: place))
        let up = String(repeating: "../", count: 2 + path.utf8.count { $0 == UInt8(ascii: "/") })
        guard try !files.createLink(place, to: up + "blobs/" + tag) else { return }
        try files.rename(blob(tag), to: place)
    }

    /// Waits for the lock of a content; Python's huggingface_hub takes the same. nil on a disk without locks, which has none to wait for: the hash still
    /// finds what two processes would spoil.
    func lock(_ tag: String, waiting: () throws -> Void) throws -> FileLock? {
        try files.createDirectory(locks)
        return try FileLock.take(locks + "/" + tag + ".lock", whileTaken: waiting)
    }

    static func parent(of path: String) -> String { path.beforeLastSlash ?? "." }
}

/// The files below a folder.
package enum FolderListing {
    private static let most = 20_000
    private static let deepest = 8

    /// Paths relative to `folder`, sorted by folder; hidden names are left out.
    ///
    /// - Throws: exit 2 for a folder with more entries than any model or data set has.
    package static func paths(in folder: String, files: any Files) throws -> [String] {
        var found: [String] = []
        var seen = 0
        func visit(_ path: String, depth: Int) throws {
            for name in try files.list(path.isEmpty ? folder : folder + "/" + path) where !name.hasPrefix(".") {
                seen += 1
                guard seen <= most else {
                    throw LorikeetError.input("the folder has more than \(most) files", at: folder, fix: "name the model's or the data's own folder")
                }
                let inner = path.isEmpty ? name : path + "/" + name
                if files.isDirectory(folder + "/" + inner) {
                    if depth < deepest { try visit(inner, depth: depth + 1) }
                } else {
                    found.append(inner)
                }
            }
        }
        try visit("", depth: 0)
        return found
    }
}
