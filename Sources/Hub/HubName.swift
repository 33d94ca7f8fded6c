import LorikeetGround

/// What a model or data set is called on a hub: `ORG/NAME`, perhaps with a revision and one file of it.
///
/// Written `ORG/NAME`, `ORG/NAME@REVISION`, `ORG/NAME:Q4_K_M` (of a GGUF repository: a quantisation or a file), or as an address:
/// `hf://ORG/NAME@REVISION/FILE`, `hf://datasets/ORG/NAME@REVISION/FILE`, or the hub's page of it.
package struct HubName: Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case model, dataset

        /// As the hub's paths and the cache's folders have it.
        var plural: String { rawValue + "s" }
        var words: String { self == .model ? "model" : "data set" }
    }

    package let kind: Kind
    /// `ORG/NAME`, or `NAME` of the few without an owner.
    package let id: String
    /// A branch, a tag, or a commit; nil for the main branch.
    package var revision: String?
    /// A file, a folder, or the quantisation of a GGUF; nil for the whole.
    package let part: String?

    package static let mainBranch = "main"

    package var description: String { id + (revision.map { "@" + $0 } ?? "") + (part.map { ":" + $0 } ?? "") }

    /// - Parameters:
    ///   - text: as above. Without a scheme, `kind` says what it names.
    ///   - endpoint: of whose pages an address may be.
    /// - Throws: exit 2 saying how a name is written.
    package init(_ text: String, kind: Kind, endpoint: WebAddress? = nil) throws {
        func bad(_ what: String) -> LorikeetError {
            .input("'\(text)' is no name of a \(kind.words) on a hub: \(what)", fix: "write it like ORG/NAME or ORG/NAME@REVISION")
        }
        var rest = Substring(text)
        var isAddress = false
        if rest.hasPrefix("hf://") {
            rest = rest.dropFirst(5)
            isAddress = true
        } else if ["https://", "http://"].contains(where: text.lowercased().hasPrefix) {
            guard let page = WebAddress(text) else {
                throw bad("it is no web address that is read here; an access token is given in HF_TOKEN, not in the address")
            }
            guard page.host == "huggingface.co" || page.host == "hf.co" || endpoint.map(page.hasOrigin) == true else {
                throw bad("the address is not the hub's")
            }
            rest = page.target.dropFirst().prefix { $0 != "?" }
            isAddress = true
        }
        var kind = kind
        if isAddress {
            for (prefix, named) in [("datasets/", Kind.dataset), ("models/", .model)] where rest.hasPrefix(prefix) {
                (kind, rest) = (named, rest.dropFirst(prefix.count))
            }
            guard !rest.hasPrefix("spaces/"), !rest.hasPrefix("buckets/") else { throw bad("only models and data sets are read") }
        }
        var part: String?
        if let colon = rest.firstIndex(of: ":") { (part, rest) = (String(rest[rest.index(after: colon)...]), rest[..<colon]) }
        var revision: String?
        if isAddress {
            (rest, revision, part) = try Self.split(rest, part: part, bad: bad)
        } else if let at = rest.firstIndex(of: "@") {
            (revision, rest) = (String(rest[rest.index(after: at)...]), rest[..<at])
        }
        guard Self.isName(rest) else { throw bad("it needs an owner and a name of letters, digits, '-', '_' and '.'") }
        if let revision, !Self.isRevision(revision) { throw bad("'\(revision)' is no revision") }
        if let part, !part.isPathInFolder { throw bad("'\(part)' is no file of it") }
        (self.kind, id, self.revision, self.part) = (kind, String(rest), revision, part)
    }

    /// The same at a revision.
    ///
    /// - Throws: exit 2 where `revision` is not a valid revision.
    package func at(_ revision: String) throws -> HubName {
        guard Self.isRevision(revision) else { throw LorikeetError.input("'\(revision)' is no revision", at: id, fix: "name a branch, a tag or a commit") }
        var name = self
        name.revision = revision
        return name
    }

    /// Splits what follows `hf://` or a hub's host: `ORG/NAME@REV/PATH`, or a page's `ORG/NAME/tree/REV/PATH`.
    private static func split(
        _ text: Substring, part: String?, bad: (String) -> LorikeetError
    ) throws -> (name: Substring, revision: String?, part: String?) {
        let pieces = text.pathParts
        guard !pieces.isEmpty else { throw bad("it is empty") }
        // A name without an owner ends at its revision, or is alone.
        let named = pieces[0].contains("@") || pieces.count == 1 ? 1 : 2
        var name = Substring(pieces.prefix(named).joined(separator: "/"))
        var following = pieces.dropFirst(named)
        var revision: String?
        if let at = name.firstIndex(of: "@") {
            revision = String(name[name.index(after: at)...]).replacing("%2F", with: "/")
            name = name[..<at]
            // `refs/pr/3` and `refs/convert/parquet` hold slashes.
            if revision == "refs", following.count >= 2 {
                revision = "refs/" + following.prefix(2).joined(separator: "/")
                following = following.dropFirst(2)
            }
        } else if let word = following.first, ["tree", "blob", "resolve"].contains(word), following.count >= 2 {
            revision = following.dropFirst().first ?? ""
            following = following.dropFirst(2)
        }
        guard !following.isEmpty else { return (name, revision, part) }
        guard part == nil else { throw bad("a file is named twice") }
        return (name, revision, following.joined(separator: "/"))
    }

    /// Whether a text without a scheme has the form of a hub's name and not of a file's: one owner, one name, no ending of a file.
    package static func looksLikeOne(_ text: String) -> Bool {
        if text.hasPrefix("hf://") { return true }
        let name = text.prefix { $0 != "@" && $0 != ":" }
        let endings = [".gguf", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst", ".parquet", ".safetensors", ".yaml", ".yml", ".bin", ".pth"]
        guard name.holdsSlash, isName(name), !endings.contains(where: { name.lowercased().hasSuffix($0) }) else { return false }
        return (try? HubName(text, kind: .model)) != nil
    }

    /// `ORG/NAME` or `NAME`, by the hub's rules.
    private static func isName(_ text: Substring) -> Bool {
        let pieces = text.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false)
        return (1...2).contains(pieces.count) && text.utf8.count <= 96 && !text.contains("--") && !text.contains("..") && !text.hasSuffix(".git")
            && pieces.allSatisfy { piece in
                guard let first = piece.first, let last = piece.last else { return false }
                return piece.allSatisfy { isWord($0) || $0 == "-" || $0 == "." } && isWord(first) && isWord(last)
            }
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || ("0"..."9").contains(scalar) || ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
    }

    /// A git revision that is safe as a path below `refs/` too.
    static func isRevision(_ text: String) -> Bool {
        text.isPathInFolder && !text.hasPrefix("-") && !text.unicodeScalars.contains { " ~^:?*[".unicodeScalars.contains($0) }
    }
}
