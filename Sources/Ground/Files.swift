import CThreads
import Glibc

/// The disk, passed in so that tests can make it fail.
package protocol Files: Sendable {
    /// The whole file.
    ///
    /// - Throws: exit 2 when it is missing, no file, or not allowed to be read; exit 4 when the machine fails to read it.
    func read(_ path: String) throws -> [UInt8]
    /// Opens a regular file for reading in place. Fails as `read` does, and with exit 2 when the file is empty.
    func map(_ path: String) throws -> MappedFile
    /// Opens a regular file for reading pieces of it; fails as `read` does. An empty file is fine.
    func open(_ path: String) throws -> any FileReader
    /// Seconds since 1970 when the file was last written or touched; nil where that is not known.
    func modificationSeconds(of path: String) -> Double?
    /// Sets the time of the last change to now. It is only a hint for what is used, so a failure is ignored.
    func touch(_ path: String)
    /// Bytes in a file; fails as `read` does.
    func byteCount(of path: String) throws -> Int
    /// False only where nothing of that name is there: what cannot be examined counts as there, and reading it says why.
    func exists(_ path: String) -> Bool
    /// Whether a symbolic link is there.
    func isLink(_ path: String) -> Bool
    func isDirectory(_ path: String) -> Bool
    /// Whether a regular file is there, under its own name and not as a link.
    func isRegular(_ path: String) -> Bool
    /// Names in a directory, sorted.
    func list(_ directory: String) throws -> [String]
    /// Makes a directory and its parents; one that is there is fine.
    func createDirectory(_ path: String) throws
    /// Removes a file, a link or an empty directory; one that is missing is fine. Nothing removes a directory with what it holds: see
    /// `PendingFolder` for those that the program made.
    func remove(_ path: String) throws
    /// Renames, replacing what is there, and syncs the directory so that the new name survives a crash.
    func rename(_ from: String, to: String) throws
    /// Makes a symbolic link to `target`, as `target` is written; what is there is replaced. Returns false where the disk has no links.
    func createLink(_ path: String, to target: String) throws -> Bool
    /// Opens a new file for writing. A file or link of that name is removed first, so that nothing is written through a link.
    func create(_ path: String) throws -> any FileWriter
    /// Opens for writing at the end; a link is not followed.
    func openAppending(_ path: String) throws -> any FileWriter
    /// Locks a file, which is made where it is missing, for as long as the result lives; nil where the disk has no locks.
    ///
    /// - Throws: exit 2 when another process has the lock, exit 4 when the file cannot be opened.
    func lock(_ path: String) throws -> FileLock?
    /// Bytes an ordinary user may still write on the file system of `path` (or of its nearest existing parent).
    ///
    /// - Throws: exit 4 where that is not known.
    func freeBytes(at path: String) throws -> Int64
}

/// A file that is open for reading. It stays readable when its name is removed.
package protocol FileReader: Sendable {
    /// Bytes in the file when it was opened.
    var count: Int { get }
    /// Fills `memory` with the bytes from `offset` on; calls may come from several threads.
    ///
    /// - Throws: exit 4 when the file is shorter by now or the disk fails.
    func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws
}

/// An open file. Every failure is exit 4 (the machine failed), with the path and the system's words.
package protocol FileWriter: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer) throws
    /// Returns when the bytes are on the disk.
    func sync() throws
    func close() throws
}

/// Who writes a file, which decides its name while it is being written.
package enum PartialName: Sendable {
    /// The one process that may write in the folder: what it leaves when it is killed, the next one writes over.
    case ofOwner
    /// Any process, at any time.
    case ofThisProcess
}

extension Files {
    /// What follows the name of a file that is being written. A file has no room for a marker, so its name says whose it is.
    package static var partialSuffix: String { ".lorikeet-partial" }

    /// Whole or not at all: writes beside `path`, syncs, renames over it.
    ///
    /// - Parameter name: whose the file beside it is: the folder's one owner's, or this process's, where others may write the same file meanwhile.
    package func writeDurably(_ bytes: [UInt8], to path: String, beside name: PartialName = .ofOwner) throws {
        let beside = path + Self.partialSuffix + (name == .ofOwner ? "" : "-\(getpid())")
        do {
            let writer = try create(beside)
            try bytes.withUnsafeBytes { try writer.write($0) }
            try writer.sync()
            try writer.close()
            try rename(beside, to: path)
        } catch {
            try? remove(beside)
            throw error
        }
    }

    package func writeDurably(_ text: String, to path: String, beside name: PartialName = .ofOwner) throws {
        try writeDurably(Array(text.utf8), to: path, beside: name)
    }

    /// The file as text; bytes that are not UTF-8 are replaced.
    package func readText(_ path: String) throws -> String { String(decoding: try read(path), as: UTF8.self) }
}

/// For disks of tests, which hold little.
extension Files {
    package func byteCount(of path: String) throws -> Int { try read(path).count }
    package func isLink(_ path: String) -> Bool { false }
    package func createLink(_ path: String, to target: String) throws -> Bool { false }
    package func open(_ path: String) throws -> any FileReader { BytesReader(bytes: try read(path), path: path) }
    package func modificationSeconds(of path: String) -> Double? { nil }
    package func touch(_ path: String) {}
    package func lock(_ path: String) throws -> FileLock? { nil }
    package func isRegular(_ path: String) -> Bool { exists(path) && !isLink(path) && !isDirectory(path) }
}

/// A file's bytes in memory.
private struct BytesReader: FileReader {
    let bytes: [UInt8]
    let path: String
    var count: Int { bytes.count }

    func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws {
        guard offset >= 0, offset + memory.count <= bytes.count else {
            throw LorikeetError.machine("the file ended early", at: "\(path) at byte \(bytes.count)")
        }
        bytes.withUnsafeBytes { memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + memory.count])) }
    }
}

/// The machine's own disk.
package struct RealFiles: Files {
    private let quotas: [FolderQuota]

    /// - Parameter quotas: limits that count for `freeBytes` where the file system itself shows more room.
    package init(quotas: [FolderQuota] = []) { self.quotas = quotas }

    package func read(_ path: String) throws -> [UInt8] {
        let (descriptor, size) = try openRegular(path)
        defer { Glibc.close(descriptor) }
        return try [UInt8](unsafeUninitializedCapacity: size) { memory, count in
            try readFully(descriptor, at: 0, into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: memory[..<size])), path)
            count = size
        }
    }

    package func map(_ path: String) throws -> MappedFile { try MappedFile(path: path) }

    package func open(_ path: String) throws -> any FileReader {
        let (descriptor, size) = try openRegular(path)
        return RealFileReader(path: path, descriptor: descriptor, count: size)
    }

    package func modificationSeconds(of path: String) -> Double? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) * 1e-9
    }

    package func touch(_ path: String) { utimensat(AT_FDCWD, path, nil, 0) }

    package func byteCount(of path: String) throws -> Int {
        let (descriptor, count) = try openRegular(path)
        Glibc.close(descriptor)
        return count
    }

    package func exists(_ path: String) -> Bool {
        var status = stat()
        // A link that leads nowhere is something of that name.
        return lstat(path, &status) == 0 || errno != ENOENT && errno != ENOTDIR
    }

    package func isLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    package func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    package func isRegular(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    package func lock(_ path: String) throws -> FileLock? { try FileLock.take(path) }

    package func list(_ directory: String) throws -> [String] {
        guard let handle = opendir(directory) else { throw unreadable(directory) }
        defer { closedir(handle) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(handle) else {
                guard errno == 0 else { throw unreadable(directory) }
                break
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package func createDirectory(_ path: String) throws {
        if path.isEmpty || isDirectory(path) { return }
        try createDirectory(Self.parent(of: path))
        guard mkdir(path, 0o777) == 0 || errno == EEXIST && isDirectory(path) else { throw failed("the directory cannot be made", path) }
    }

    package func remove(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            guard rmdir(path) == 0 || errno == ENOENT else { throw failed("cannot be removed", path) }
        } else {
            guard unlink(path) == 0 || errno == ENOENT else { throw failed("cannot be removed", path) }
        }
    }

    package func rename(_ from: String, to: String) throws {
        guard Glibc.rename(from, to) == 0 else { throw failed("another file cannot be given this name", to) }
        let directory = Glibc.open(Self.parent(of: to), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        defer { Glibc.close(directory) }
        // A file system that cannot sync a folder is not one that failed at it.
        guard fsync(directory) == 0 || ![EIO, ENOSPC, EDQUOT, EROFS].contains(errno) else { throw failed("the new name cannot be written", to) }
    }

    package func createLink(_ path: String, to target: String) throws -> Bool {
        // Made beside and renamed: whoever reads meanwhile sees the old or the new one.
        let beside = path + Self.partialSuffix + "-\(getpid())"
        unlink(beside)
        guard symlink(target, beside) == 0 else {
            // FAT and some network drives.
            guard ![EPERM, EOPNOTSUPP, ENOSYS].contains(errno) else { return false }
            throw failed("a link cannot be made", path)
        }
        guard Glibc.rename(beside, path) == 0 else {
            let error = failed("a link cannot be made", path)
            unlink(beside)
            throw error
        }
        return true
    }

    package func create(_ path: String) throws -> any FileWriter {
        guard unlink(path) == 0 || errno == ENOENT else { throw failed("cannot be written", path) }
        return try RealFileWriter(path, O_EXCL)
    }

    package func openAppending(_ path: String) throws -> any FileWriter { try RealFileWriter(path, O_APPEND) }

    package func freeBytes(at path: String) throws -> Int64 {
        var place = path
        while access(place, F_OK) != 0 && place != "/" && place != "." { place = Self.parent(of: place) }
        var status = statvfs()
        guard statvfs(place, &status) == 0 else { throw failed("the free space cannot be read", place) }
        let free = Int64(clamping: UInt64(status.f_bavail) &* UInt64(status.f_frsize))
        guard !quotas.isEmpty else { return free }
        let full = Self.absolute(path)
        return try quotas.compactMap { try $0.freeBytes(at: full, files: self) }.reduce(free, min)
    }

    /// The path from the root, without `.` and `..`; links are left as they are.
    package static func absolute(_ path: String) -> String {
        var parts: [String] = []
        let whole = path.isAbsolutePath ? path : workingDirectory + "/" + path
        for part in whole.pathParts where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    private static var workingDirectory: String {
        guard let path = getcwd(nil, 0) else { return "" }
        defer { free(path) }
        return String(cString: path)
    }

    /// A path without slashes at its end.
    package static func trimmed(_ path: String) -> String {
        var trimmed = path
        while trimmed.utf8.count > 1 && trimmed.utf8.last == UInt8(ascii: "/") { trimmed.unicodeScalars.removeLast() }
        return trimmed
    }

    /// The directory a path stands in: `.` for a bare name.
    package static func parent(of path: String) -> String {
        let trimmed = trimmed(path)
        guard let folder = trimmed.beforeLastSlash else { return "." }
        return folder.isEmpty ? "/" : folder
    }
}

/// A file read through its descriptor, so that none of its pages count as this process's memory.
private final class RealFileReader: FileReader {
    let path: String
    let count: Int
    private let descriptor: Int32

    init(path: String, descriptor: Int32, count: Int) { (self.path, self.descriptor, self.count) = (path, descriptor, count) }

    deinit { Glibc.close(descriptor) }

    func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws { try readFully(descriptor, at: offset, into: memory, path) }
}

/// The system's words for the current `errno`.
func systemMessage() -> String { String(cString: strerror(errno)) }

func failed(_ what: String, _ path: String) -> LorikeetError {
    let full = errno == ENOSPC || errno == EDQUOT
    return .machine(
        full ? "the disk is full" : "\(what): \(systemMessage())", at: path,
        fix: full ? "free some space and run the same command again" : "check the directory and its permissions")
}

private final class RealFileWriter: FileWriter {
    /// Bytes after which the disk is set to work on what was written, so that `sync` finds little left to wait for.
    private static let earlyBytes = 32 << 20

    private let path: String
    private var descriptor: Int32
    /// Bytes written since the disk was last set to work.
    private var waiting = 0

    init(_ path: String, _ flag: Int32) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flag, 0o666)
        self.path = path
        guard descriptor >= 0 else { throw failed("cannot be written", path) }
    }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let put = Glibc.write(descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done)
            if put < 0 && errno == EINTR { continue }
            guard put > 0 else { throw failed("cannot be written", path) }
            done += put
        }
        waiting += done
        guard waiting >= Self.earlyBytes else { return }
        waiting = 0
        let error = lorikeet_begin_writing(descriptor)
        guard error == 0 else {
            errno = error
            throw failed("cannot be written", path)
        }
    }

    func sync() throws { guard fsync(descriptor) == 0 else { throw failed("cannot be written", path) } }

    func close() throws {
        let open = descriptor
        descriptor = -1
        guard open < 0 || Glibc.close(open) == 0 else { throw failed("cannot be written", path) }
    }
}
