import Glibc

/// Keeps other processes out, and other objects of this one, while it lives. The operating system frees it when the process ends, however it ends.
package final class FileLock: Sendable {
    private let descriptor: Int32

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Opens the file, which is made where it is missing, and locks it.
    ///
    /// - Parameter whileTaken: called again and again while another process has the lock: it waits, or throws.
    /// - Returns: nil where the file system has no locks, which is not a reason to refuse work.
    /// - Throws: exit 4 when the file cannot be opened, and what `whileTaken` throws.
    package static func take(_ path: String, whileTaken: () throws -> Void) throws -> FileLock? {
        for _ in 0..<100 {
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
            guard descriptor >= 0 else { throw failed("cannot be written", path) }
            let lock = FileLock(descriptor: descriptor)
            while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                if errno == EINTR { continue }
                guard errno == EWOULDBLOCK else { return nil }
                try whileTaken()
            }
            // Between opening and locking, the process that had the lock may have renamed or removed the file.
            var (locked, named) = (stat(), stat())
            if fstat(descriptor, &locked) == 0, lstat(path, &named) == 0, locked.st_dev == named.st_dev, locked.st_ino == named.st_ino { return lock }
        }
        throw isTaken(path)
    }

    /// The lock, or the refusal where another process has it.
    ///
    /// - Throws: exit 2 when another process has the lock, exit 4 when the file cannot be opened.
    static func take(_ path: String) throws -> FileLock? { try take(path) { throw isTaken(path) } }

    private static func isTaken(_ path: String) -> LorikeetError {
        LorikeetError.input("another process is writing here", at: path, fix: "wait for it, or name another output").of(.alreadyRunning)
    }
}
