import Glibc
import LorikeetGround

/// The real disk without waiting for it: what is written survives the process, not the machine. For tests that write thousands of checkpoints.
package struct UnsyncedFiles: Files {
    private let real = RealFiles()

    package init() {}

    package func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    package func map(_ path: String) throws -> MappedFile { try real.map(path) }
    package func byteCount(of path: String) throws -> Int { try real.byteCount(of: path) }
    package func exists(_ path: String) -> Bool { real.exists(path) }
    package func isLink(_ path: String) -> Bool { real.isLink(path) }
    package func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    package func list(_ directory: String) throws -> [String] { try real.list(directory) }
    package func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    package func createDirectory(_ path: String) throws { try real.createDirectory(path) }
    package func remove(_ path: String) throws { try real.remove(path) }
    package func createLink(_ path: String, to target: String) throws -> Bool { try real.createLink(path, to: target) }
    package func openAppending(_ path: String) throws -> any FileWriter { Writer(try real.openAppending(path)) }
    package func create(_ path: String) throws -> any FileWriter { Writer(try real.create(path)) }

    package func rename(_ from: String, to: String) throws {
        guard Glibc.rename(from, to) == 0 else { throw LorikeetError.machine("cannot be renamed", at: from) }
    }

    private final class Writer: FileWriter {
        private let real: any FileWriter

        init(_ real: any FileWriter) { self.real = real }

        func write(_ bytes: UnsafeRawBufferPointer) throws { try real.write(bytes) }
        func sync() {}
        func close() throws { try real.close() }
    }
}
