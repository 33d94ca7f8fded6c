import CThreads
import Glibc

/// A file mapped read-only into memory, as `Files.map` opens it; its pages are read when they are touched and can be dropped by the
/// system. It stays open, so that long stretches can be read past the mapping too.
///
/// The address is held as a number, so that the type is plainly `Sendable`: nothing is ever written through it.
package final class MappedFile: Sendable {
    package let path: String
    /// Bytes in the file.
    package let count: Int
    private let address: UInt
    private let descriptor: Int32
    /// The parts of the file that are at hand, where it is not all of it.
    private let pieces: [Range<Int>]?
    /// The file's size and the time of its last change when it was opened; nil for pieces.
    private let state: FileState?
    /// Its number among the mapped files.
    private let slot: Int32

    /// - Throws: exit 2 when the file is missing, empty, another thing than a regular file, or not allowed to be read; exit 4 when the
    ///   machine fails to open it.
    init(path: String) throws {
        let (descriptor, size) = try openRegular(path)
        var complete = false
        defer { if !complete { close(descriptor) } }
        guard size > 0 else { throw LorikeetError.input("the file is empty", at: path, fix: "fetch or write it again").of(.damagedFile) }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw LorikeetError.machine("cannot be mapped: \(systemMessage())", at: path)
        }
        self.path = path
        count = size
        address = UInt(bitPattern: base)
        self.descriptor = descriptor
        pieces = nil
        state = FileState(descriptor)
        slot = lorikeet_file_mapped(base, size, path)
        complete = true
    }

    /// A file of which only pieces are at hand, in memory: the header of a file that is somewhere else. `bytes` are zero outside of them, and
    /// `read` refuses. Only the pieces take memory.
    ///
    /// - Parameters:
    ///   - path: what errors call the file.
    ///   - count: bytes in the whole file.
    ///   - pieces: bytes, and where in the file they begin; all of them inside it.
    /// - Throws: exit 2 for an empty file, exit 4 where the process may not have so many addresses.
    package init(path: String, count: Int, pieces: [(offset: Int, bytes: [UInt8])]) throws {
        guard count > 0 else { throw LorikeetError.input("the file is empty", at: path, fix: "fetch or write it again").of(.damagedFile) }
        guard pieces.allSatisfy({ $0.offset >= 0 && $0.offset <= count - $0.bytes.count }) else {
            throw LorikeetError.input("a piece of the file lies outside of its \(count) bytes", at: path)
        }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED else {
            throw LorikeetError.machine("no address space for a file of \(count) bytes: \(systemMessage())", at: path)
        }
        for piece in pieces { piece.bytes.withUnsafeBytes { if let from = $0.baseAddress { memcpy(base + piece.offset, from, $0.count) } } }
        mprotect(base, count, PROT_READ)
        self.path = path
        self.count = count
        address = UInt(bitPattern: base)
        (descriptor, state, slot) = (-1, nil, -1)
        self.pieces = pieces.map { $0.offset..<$0.offset + $0.bytes.count }
    }

    deinit {
        lorikeet_file_unmapped(slot)
        if let base = UnsafeMutableRawPointer(bitPattern: address) { munmap(base, count) }
        if descriptor >= 0 { close(descriptor) }
    }

    /// Checks that nothing has written the file since it was opened: what was read of it would belong to two files.
    ///
    /// - Throws: exit 4.
    package func requireUnchanged() throws {
        guard let state, FileState(descriptor) != state else { return }
        throw LorikeetError.machine(
            "the file was changed while it was in use", at: path, fix: "nothing else may write it: bring it back as it was and run the same command again")
    }

    /// From now on a page that can no longer be read, because its file was cut short or its disk fails, ends the process with a sentence that names the
    /// file, in place of SIGBUS. For programs that may end like this: what is on the disk is whole at every instant.
    package static func endProcessOnLostPages(exit: LorikeetError.ExitClass) { lorikeet_end_on_lost_pages(exit.rawValue) }

    /// Whether these bytes of the file are at hand: always, but for a file of which there are only pieces.
    package func holds(_ range: Range<Int>) -> Bool {
        pieces.map { pieces in pieces.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound } } ?? true
    }

    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count) }

    /// Gives the memory of these bytes' pages back to the system: pages that were touched count as the process's memory until then. They are read
    /// from the file again when they are next touched, so nothing changes for whoever reads them at the same time.
    ///
    /// - Parameter range: bytes inside the file.
    package func giveBack(_ range: Range<Int>) {
        // Pieces in memory are in no file that they could be read from again.
        guard pieces == nil, !range.isEmpty, let base = UnsafeMutableRawPointer(bitPattern: address) else { return }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let first = range.lowerBound / page * page
        madvise(base + first, range.upperBound - first, MADV_DONTNEED)
    }

    /// Asks the system to have these bytes of the file in its cache soon, without waiting for them: the disk works while something else is computed.
    /// It is only a hint; where it is not taken, reading waits for the disk as ever.
    ///
    /// - Parameter range: what lies behind the file's end is left out.
    package func prefetch(_ range: Range<Int>) {
        let range = range.clamped(to: 0..<count)
        guard pieces == nil, !range.isEmpty else { return }
        posix_fadvise(descriptor, range.lowerBound, range.count, POSIX_FADV_WILLNEED)
    }

    /// Fills `memory` with the bytes from `offset` on; calls may come from several threads. No page is mapped for it: the cost of a copy
    /// alone, and a disk that fails is an error, not a signal.
    ///
    /// - Throws: exit 4 when the file is shorter by now or the disk fails, or of this file only pieces are at hand.
    package func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws {
        guard pieces == nil else { throw LorikeetError.machine("only the header of the file has been fetched", at: path, fix: "fetch the file: lorikeet pull") }
        try readFully(descriptor, at: offset, into: memory, path)
    }
}

/// An open file's size and the time of its last change.
private struct FileState: Equatable {
    let size: Int
    let seconds: Int
    let nanoseconds: Int

    init?(_ descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        (size, seconds, nanoseconds) = (Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
    }
}

/// Opens a regular file: anything else (a folder, a pipe) has no bytes that can be read twice.
///
/// - Returns: the open file, and its size in bytes.
func openRegular(_ path: String) throws -> (descriptor: Int32, size: Int) {
    // Without O_NONBLOCK the opening of a pipe waits for whoever writes into it.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
        // A socket, or a device that is not there.
        if errno == ENXIO || errno == ENODEV { throw LorikeetError.input("not a regular file", at: path, fix: "name a file").of(.unreadableFile) }
        throw unreadable(path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        defer { close(descriptor) }
        throw unreadable(path)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
        close(descriptor)
        throw LorikeetError.input("not a regular file", at: path, fix: "name a file").of(.unreadableFile)
    }
    return (descriptor, max(0, Int(status.st_size)))
}

/// Fills `memory` with the bytes of an open file from `offset` on.
func readFully(_ descriptor: Int32, at offset: Int, into memory: UnsafeMutableRawBufferPointer, _ path: String) throws {
    var done = 0
    while done < memory.count, let base = memory.baseAddress {
        let got = pread(descriptor, base + done, memory.count - done, offset + done)
        if got < 0 && errno == EINTR { continue }
        guard got >= 0 else { throw unreadable("\(path) at byte \(offset + done)") }
        guard got > 0 else {
            throw LorikeetError.machine(
                "the file ended early", at: "\(path) at byte \(offset + done)", fix: "nothing else may write it; run the same command again")
        }
        done += got
    }
}

/// Why `path` cannot be read: what the user can change (a wrong path, permissions) is exit 2, what the machine failed at (a bad disk, a
/// lost network drive, too many open files) exit 4.
func unreadable(_ path: String, _ code: Int32 = errno) -> LorikeetError {
    let words = String(cString: strerror(code))
    let error: LorikeetError =
        switch code {
        case ENOENT, ENOTDIR: .input("no such file or directory", at: path, fix: "check the path")
        case EACCES, EPERM, EISDIR, ELOOP, ENAMETOOLONG, EINVAL: .input("cannot be read: \(words)", at: path, fix: "check the path")
        default: .machine("cannot be read: \(words)", at: path, fix: "nothing is lost: check the disk and run the same command again")
        }
    return error.of(.unreadableFile)
}
