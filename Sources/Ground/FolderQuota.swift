/// A folder whose content counts against a limit that the file system does not show: a notebook keeps 20 GB of its working folder.
package struct FolderQuota: Sendable, Equatable {
    package let path: String
    package let bytes: Int64

    package init(path: String, bytes: Int64) { (self.path, self.bytes) = (path, bytes) }

    /// The most entries that are looked at. In a folder with more, the rest counts for nothing, and the free bytes come out too large.
    private static let most = 100_000

    /// Bytes that the folder may still take, where `place` is in it; nil for another place.
    func freeBytes(at place: String, files: any Files) -> Int64? {
        guard place == path || place.hasPrefix(path + "/") else { return nil }
        var (used, seen) = (Int64(0), 0)
        func visit(_ folder: String) {
            for name in (try? files.list(folder)) ?? [] where seen < Self.most {
                seen += 1
                let inner = folder + "/" + name
                if files.isLink(inner) { continue }
                if files.isDirectory(inner) { visit(inner) } else { used += Int64((try? files.byteCount(of: inner)) ?? 0) }
            }
        }
        visit(path)
        return max(0, bytes - used)
    }
}
