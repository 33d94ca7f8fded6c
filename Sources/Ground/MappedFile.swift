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

    /// - Throws: exit 2 when the file is missing, empty, a directory or another thing than a regular file, or cannot be read.
    init(path: String) throws {
        // Opening a pipe would wait for whoever writes into it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw LorikeetError.input(
                errno == ENOENT ? "no such file" : "cannot be read: \(String(cString: strerror(errno)))", at: path, mend: "check the path")
        }
        var complete = false
        defer { if !complete { close(descriptor) } }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw LorikeetError.input("not a regular file", at: path, mend: "name a file")
        }
        guard status.st_size > 0 else { throw LorikeetError.input("the file is empty", at: path, mend: "fetch or write it again") }
        guard let base = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw LorikeetError.machine("cannot be mapped: \(String(cString: strerror(errno)))", at: path)
        }
        self.path = path
        count = Int(status.st_size)
        address = UInt(bitPattern: base)
        self.descriptor = descriptor
        complete = true
    }

    deinit {
        if let base = UnsafeMutableRawPointer(bitPattern: address) { munmap(base, count) }
        close(descriptor)
    }

    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count) }

    /// Fills `memory` with the bytes from `offset` on. No page is mapped for it: the cost of a copy alone.
    ///
    /// - Throws: exit 4 when the file is shorter by now or the disk fails.
    package func read(at offset: Int, into memory: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < memory.count, let base = memory.baseAddress {
            let got = pread(descriptor, base + done, memory.count - done, offset + done)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else {
                let reason = got < 0 ? "cannot be read: \(String(cString: strerror(errno)))" : "the file ended early"
                throw LorikeetError.machine(reason, at: "\(path) at byte \(offset + done)", mend: "check the disk, or fetch the file again")
            }
            done += got
        }
    }
}
