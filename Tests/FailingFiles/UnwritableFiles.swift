import LorikeetGround

/// The real disk, on which some paths cannot be written: they can be neither made, opened, renamed nor removed.
package struct UnwritableFiles: Files {
    private let real = RealFiles()
    private let fails: @Sendable (String) -> Bool

    /// - Parameter fails: whether a path cannot be written.
    package init(_ fails: @escaping @Sendable (String) -> Bool) { self.fails = fails }

    private func change<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
        guard !fails(path) else { throw LorikeetError.machine("cannot be written: Input/output error", at: path) }
        return try body()
    }

    package func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    package func map(_ path: String) throws -> MappedFile { try real.map(path) }
    package func byteCount(of path: String) throws -> Int { try real.byteCount(of: path) }
    package func modificationSeconds(of path: String) -> Double? { real.modificationSeconds(of: path) }
    package func exists(_ path: String) -> Bool { real.exists(path) }
    package func isLink(_ path: String) -> Bool { real.isLink(path) }
    package func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    package func lock(_ path: String) throws -> FileLock? { try real.lock(path) }
    package func list(_ directory: String) throws -> [String] { try real.list(directory) }
    package func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    package func createDirectory(_ path: String) throws { try change(path) { try real.createDirectory(path) } }
    package func remove(_ path: String) throws { try change(path) { try real.remove(path) } }
    package func createLink(_ path: String, to target: String) throws -> Bool { try change(path) { try real.createLink(path, to: target) } }
    package func rename(_ from: String, to: String) throws { try change(to) { try real.rename(from, to: to) } }
    package func create(_ path: String) throws -> any FileWriter { try change(path) { try real.create(path) } }
    package func openAppending(_ path: String) throws -> any FileWriter { try change(path) { try real.openAppending(path) } }
}
