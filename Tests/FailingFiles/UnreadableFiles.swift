import LorikeetGround

/// The real disk, on which some paths exist and cannot be read.
package struct UnreadableFiles: Files {
    private let real = RealFiles()
    private let fails: @Sendable (String) -> Bool
    private let error: LorikeetError

    /// - Parameters:
    ///   - error: what reading them says: a disk's failure, if nothing else is given.
    ///   - fails: whether a path cannot be read.
    package init(error: LorikeetError = .machine("cannot be read: Input/output error"), _ fails: @escaping @Sendable (String) -> Bool) {
        (self.error, self.fails) = (error, fails)
    }

    private func read<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
        guard !fails(path) else { throw error }
        return try body()
    }

    package func read(_ path: String) throws -> [UInt8] { try read(path) { try real.read(path) } }
    package func map(_ path: String) throws -> MappedFile { try read(path) { try real.map(path) } }
    package func byteCount(of path: String) throws -> Int { try read(path) { try real.byteCount(of: path) } }
    package func exists(_ path: String) -> Bool { real.exists(path) }
    package func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    package func lock(_ path: String) throws -> FileLock? { try real.lock(path) }
    package func list(_ directory: String) throws -> [String] { try read(directory) { try real.list(directory) } }
    package func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    package func createDirectory(_ path: String) throws { try real.createDirectory(path) }
    package func remove(_ path: String) throws { try real.remove(path) }
    package func isLink(_ path: String) -> Bool { real.isLink(path) }
    package func createLink(_ path: String, to target: String) throws -> Bool { try real.createLink(path, to: target) }
    package func rename(_ from: String, to: String) throws { try real.rename(from, to: to) }
    package func create(_ path: String) throws -> any FileWriter { try real.create(path) }
    package func openAppending(_ path: String) throws -> any FileWriter { try real.openAppending(path) }
}
