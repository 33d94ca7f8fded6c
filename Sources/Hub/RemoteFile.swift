import LorikeetGround
import LorikeetJSON

/// A file of a repository, as far as the hub's listing says it.
struct RemoteFile: Sendable, Equatable {
    let path: String
    let size: Int64?
    /// SHA-256 of a large file, or git's SHA-1 of a small one.
    let hash: String?
}

/// What a hub says about a repository at a revision.
struct RepositoryListing: Sendable {
    /// The commit that the revision stands for.
    let commit: String
    let files: [RemoteFile]
    private let byPath: [String: RemoteFile]

    func file(_ path: String) -> RemoteFile? { byPath[path] }

    /// Reads the hub's answer. Everything in it is untrusted: a name that leads out of a folder, or a commit that is no name, refuses the
    /// whole.
    ///
    /// - Throws: exit 2 naming the entry.
    init(_ json: JSON, name: HubName, source: String) throws {
        func refused(_ what: String) -> LorikeetError { .input(what, at: source, fix: "use another hub: nothing was written") }
        guard let commit = json["sha"]?.string, let siblings = json["siblings"]?.array else {
            throw refused("the answer about \(name.id) has no commit ('sha') or no list of files ('siblings')")
        }
        guard Self.isTag(commit) else { throw refused("'\(commit)' is no name of a commit") }
        var seen = Set<String>()
        files = try siblings.map { entry in
            guard let path = entry["rfilename"]?.string else { throw refused("an entry of the list of files has no name ('rfilename')") }
            guard path.isPathInFolder else { throw refused("the file name '\(path)' would lead out of the cache") }
            guard seen.insert(path).inserted else { throw refused("the file '\(path)' is listed twice") }
            let large = entry["lfs"]
            let size = large?["size"]?.int ?? entry["size"]?.int
            let hash = large?["sha256"]?.string ?? large?["oid"]?.string ?? entry["blobId"]?.string
            return RemoteFile(path: path, size: size.flatMap { $0 < 0 ? nil : Int64($0) }, hash: hash)
        }
        self.commit = commit
        byPath = Dictionary(files.map { ($0.path, $0) }) { $1 }
    }

    /// Whether a text from a hub is the name of one file in a folder: a commit, or the tag of a content.
    static func isTag(_ text: String) -> Bool {
        text.isNameInFolder && text.utf8.count <= 200 && !text.hasPrefix(".")
            && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }
}
