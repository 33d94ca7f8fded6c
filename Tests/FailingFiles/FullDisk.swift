import LorikeetGround
import Synchronization

/// The real disk with room for so many bytes: the write that needs more fails as a full disk does.
package final class FullDisk: Files {
    private let real = RealFiles()
    private let left: Mutex<Int>

    private let said: Int64?

    /// - Parameter said: what it says of its free bytes, when that is not the truth.
    package init(bytes: Int, said: Int64? = nil) {
        left = Mutex(bytes)
        self.said = said
    }

    package func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    package func map(_ path: String) throws -> MappedFile { try real.map(path) }
    package func exists(_ path: String) -> Bool { real.exists(path) }
    package func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    package func lock(_ path: String) throws -> FileLock? { try real.lock(path) }
    package func list(_ directory: String) throws -> [String] { try real.list(directory) }
    package func createDirectory(_ path: String) throws { try real.createDirectory(path) }
    package func remove(_ path: String) throws { try real.remove(path) }
    package func isLink(_ path: String) -> Bool { real.isLink(path) }
    package func createLink(_ path: String, to target: String) throws -> Bool { try real.createLink(path, to: target) }
    package func rename(_ from: String, to: String) throws { try real.rename(from, to: to) }
    package func create(_ path: String) throws -> any FileWriter { Writer(disk: self, real: try real.create(path)) }
    package func openAppending(_ path: String) throws -> any FileWriter { Writer(disk: self, real: try real.openAppending(path)) }
    package func freeBytes(at path: String) throws -> Int64 { said ?? left.withLock { Int64($0) } }

    private func take(_ bytes: Int) throws {
        try left.withLock { left in
            guard bytes <= left else { throw LorikeetError.machine("the disk is full", fix: "free some space and run the same command again") }
            left -= bytes
        }
    }

    private final class Writer: FileWriter {
        let disk: FullDisk
        let real: any FileWriter

        init(disk: FullDisk, real: any FileWriter) { (self.disk, self.real) = (disk, real) }

        func write(_ bytes: UnsafeRawBufferPointer) throws {
            try disk.take(bytes.count)
            try real.write(bytes)
        }
        func sync() throws { try real.sync() }
        func close() throws { try real.close() }
    }
}
