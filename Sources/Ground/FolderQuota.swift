import Glibc

/// A folder whose content counts against a limit that the file system does not show: a notebook keeps 20 GB of its working folder.
package struct FolderQuota: Sendable, Equatable {
    package let path: String
    package let bytes: Int64

    package init(path: String, bytes: Int64) { (self.path, self.bytes) = (path, bytes) }

    /// The most entries that are looked at: counting more takes seconds.
    package static let most = 1_000_000

    /// Bytes that the folder may still take, where `place` is in it; nil for another place.
    ///
    /// - Parameter most: the most entries that are counted.
    /// - Throws: exit 4 naming the folder whose content cannot be counted: then it is not known what is left of the limit.
    package func freeBytes(at place: String, files: any Files, most: Int = most) throws -> Int64? {
        guard place == path || place.hasPrefix(path + "/") else { return nil }
        var (used, seen) = (Int64(0), 0)
        func visit(_ folder: String) throws {
            for name in try names(in: folder, files) {
                seen += 1
                guard seen <= most else {
                    throw unknown("more than \(most) files are in the folder", at: path, fix: "pack or remove files that need not be kept")
                }
                let inner = folder + "/" + name
                var status = stat()
                // What has gone since the folder was listed takes no room.
                guard lstat(inner, &status) == 0 else { continue }
                switch status.st_mode & S_IFMT {
                case S_IFDIR: try visit(inner)
                case S_IFREG: used += Int64(status.st_size)
                default: break
                }
            }
        }
        try visit(path)
        return max(0, bytes - used)
    }

    private func names(in folder: String, _ files: any Files) throws -> [String] {
        do {
            return try files.list(folder)
        } catch let error as LorikeetError {
            guard files.exists(folder) else { return [] }
            throw unknown("the folder cannot be listed (\(error.what))", at: folder, fix: "change its permissions, or remove it")
        }
    }

    private func unknown(_ what: String, at place: String, fix: String) -> LorikeetError {
        .machine("\(what), so it is not known how much of the \(Units.formatBytes(bytes)) that \(path) may hold is left", at: place, fix: fix)
    }
}
