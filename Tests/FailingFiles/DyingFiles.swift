import LorikeetGround
import Synchronization

/// The real disk with an end at the nth change (making, writing, syncing, renaming, removing): either that change fails, or the process
/// that makes it is killed there, which here means that neither it nor any later one has an effect.
package final class DyingFiles: Files {
    package enum End: Sendable, CaseIterable {
        /// The change fails, as on a full disk; later ones work.
        case failure
        /// Killed before the change.
        case kill
        /// Killed in the middle of the change: of a write half of the bytes are there.
        case killHalfway
    }

    private struct State {
        var changes = 0
        var dead = false
    }

    private let real = RealFiles()
    private let state = Mutex(State())
    private let last: Int
    private let end: End

    /// - Parameter last: number of the change that does not come about, from 1; changes are only counted where it is never reached.
    package init(last: Int, end: End) { (self.last, self.end) = (last, end) }

    /// Changes so far.
    package var changes: Int { state.withLock { $0.changes } }
    /// Whether the end came.
    package var ended: Bool { changes >= last }

    package static let killed = LorikeetError.machine("killed")

    /// Counts a change. Returns true when only half of it takes place.
    private func change() throws -> Bool {
        try state.withLock { state in
            guard !state.dead else { throw Self.killed }
            state.changes += 1
            guard state.changes == last else { return false }
            switch end {
            case .failure: throw LorikeetError.machine("the disk is full", fix: "free some space and run the same command again")
            case .kill:
                state.dead = true
                throw Self.killed
            case .killHalfway:
                state.dead = true
                return true
            }
        }
    }

    /// Makes a change that has no half.
    private func whole<Result>(_ body: () throws -> Result) throws -> Result {
        if try change() { throw Self.killed }
        return try body()
    }

    package func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    package func map(_ path: String) throws -> MappedFile { try real.map(path) }
    package func byteCount(of path: String) throws -> Int { try real.byteCount(of: path) }
    package func exists(_ path: String) -> Bool { real.exists(path) }
    package func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    package func lock(_ path: String) throws -> FileLock? { try real.lock(path) }
    package func list(_ directory: String) throws -> [String] { try real.list(directory) }
    package func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    package func createDirectory(_ path: String) throws { try whole { try real.createDirectory(path) } }
    package func remove(_ path: String) throws { try whole { try real.remove(path) } }
    package func isLink(_ path: String) -> Bool { real.isLink(path) }
    package func createLink(_ path: String, to target: String) throws -> Bool { try whole { try real.createLink(path, to: target) } }
    package func rename(_ from: String, to: String) throws { try whole { try real.rename(from, to: to) } }
    package func create(_ path: String) throws -> any FileWriter { Writer(files: self, real: try whole { try real.create(path) }) }
    package func openAppending(_ path: String) throws -> any FileWriter { Writer(files: self, real: try whole { try real.openAppending(path) }) }

    private final class Writer: FileWriter {
        let files: DyingFiles
        let real: any FileWriter

        init(files: DyingFiles, real: any FileWriter) { (self.files, self.real) = (files, real) }

        func write(_ bytes: UnsafeRawBufferPointer) throws {
            guard try files.change() else { return try real.write(bytes) }
            try real.write(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]))
            throw DyingFiles.killed
        }
        func sync() throws { try files.whole { try real.sync() } }
        func close() throws { try real.close() }
    }
}
