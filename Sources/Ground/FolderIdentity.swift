import Glibc

/// Tells a folder from another one that has its name later.
package struct FolderIdentity: Sendable, Equatable {
    private let device: UInt
    private let number: UInt

    /// nil where no folder is at `path`; a link is followed.
    package init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        (device, number) = (UInt(status.st_dev), UInt(status.st_ino))
    }
}
