import Synchronization

/// A folder that is built beside its place and appears there whole.
///
/// The program removes only files that it made and can recognise. So a folder under construction
/// carries a marker file with the name of every entry the program makes in it, each recorded before the entry is made. What a killed
/// process left is cleared by that list; an entry that is not on it stays, and with it the folder. A folder of a user's that has the name
/// of a folder under construction is not touched: the next free name is taken.
///
///     let pending = try PendingFolder(for: "out/merged", files: files)
///     do {
///         try pending.files.writeDurably("{}", to: pending.path + "/config.json")
///         try pending.commit()
///     } catch {
///         pending.discard()
///         throw error
///     }
package struct PendingFolder: Sendable {
    /// Where the folder will stand.
    package let place: String
    /// Where it is built: `place.partial`, or `place.partial-2` and so on where that name is taken.
    package let path: String
    /// Everything in the folder is written through these: they record each name before it is made.
    package let files: any Files
    private let disk: any Files
    /// Held on the marker: another process neither clears this folder nor builds in it.
    private let lock: FileLock?

    /// The file inside a folder under construction that names what the program made there, one path a line.
    package static let marker = ".lorikeet-partial"

    /// Makes the empty folder; what an earlier process left of it is cleared first.
    ///
    /// - Parameter named: where the folder will stand; slashes at its end count for nothing.
    /// - Throws: exit 2 when all names are taken by what the program did not make, or another process is building the folder; exit 4 when the disk
    ///   fails.
    package init(for named: String, files disk: any Files) throws {
        let place = RealFiles.trimmed(named)
        for path in Self.names(of: place) where try Self.isFree(path, files: disk) {
            try disk.createDirectory(path)
            lock = try disk.lock(path + "/" + Self.marker)
            (self.place, self.path, self.disk) = (place, path, disk)
            files = RecordedFiles(disk: disk, folder: path, recorded: Recorded())
            return
        }
        throw LorikeetError.input(
            "the output is built in a folder of this name, which exists and holds files that Lorikeet did not make", at: place + ".partial",
            fix: "move or rename it")
    }

    /// Whether a folder can be built at `path`: nothing is there, or an empty folder. What a killed process left there is cleared first.
    ///
    /// - Throws: exit 2 when another process is building there.
    private static func isFree(_ path: String, files: any Files) throws -> Bool {
        guard files.exists(path) else { return true }
        guard files.isDirectory(path) else { return false }
        if try files.list(path).isEmpty { return true }
        guard files.exists(path + "/" + marker) else { return false }
        let lock = try files.lock(path + "/" + marker)
        return try withExtendedLifetime(lock) { try clear(path, files: files) }
    }

    /// Renames the folder to its place, where nothing may stand.
    ///
    /// - Throws: exit 2 when something is there.
    package func commit() throws {
        try disk.requireNew(place)
        try settle()
    }

    /// Renames the folder to its place. Where the disk fails at that, or behind it, the folder is again where it was built, so that `discard` clears it and
    /// the same command may build it anew.
    private func settle() throws {
        do {
            try disk.rename(path, to: place)
            try Self.removeMarker(in: place, files: disk)
        } catch {
            if !disk.exists(path) { try? disk.rename(place, to: path) }
            throw error
        }
    }

    /// Renames the folder to its place. What stands there is renamed out of the way first and goes last, so that at every instant one of
    /// the two is whole; `restore` brings the old one back where the program was killed between the two renames.
    ///
    /// - Parameter known: names of what the program made in the old folder. Anything else in it stays, in `place.replaced`.
    /// - Returns: where the old folder still is, when it holds something else.
    @discardableResult package func commit(replacing known: [String]) throws -> String? {
        let old = try Self.setAside(place, files: disk)
        try settle()
        guard let old else { return nil }
        return try Self.clear(old, known: known, files: disk) ? nil : old
    }

    /// Removes what was built. For use while another error is thrown: its own failure is ignored, and the next start clears the rest.
    package func discard() { _ = try? Self.clear(path, files: disk) }

    // MARK: what earlier processes left

    /// Renames the folder at `place` to `place.replaced`.
    ///
    /// - Returns: the new name, nil when nothing is at `place`.
    package static func setAside(_ place: String, files: any Files) throws -> String? {
        guard files.exists(place) else { return nil }
        guard let free = names(of: place, replaced).first(where: { !files.exists($0) }) else {
            throw LorikeetError.input(
                "too many folders that it replaced earlier stand beside it", at: place, fix: "look through '\(place).replaced' and remove them")
        }
        try files.rename(place, to: free)
        return free
    }

    /// Removes a folder that the program made. It is renamed first, so that it disappears at one instant even where removing its contents is
    /// interrupted.
    ///
    /// - Parameter known: names of what the program made in it. Anything else stays, in `place.partial`.
    package static func remove(_ place: String, known: [String], files: any Files) throws {
        guard let free = names(of: place).first(where: { !files.exists($0) }) else { return }
        try files.rename(place, to: free)
        _ = try clear(free, known: known, files: files)
    }

    /// Puts things right after a kill: brings back the replaced folder where its successor never came, clears it where it did, and clears
    /// what was left of folders under construction.
    ///
    /// - Parameter known: names of what the program makes in this folder; it recognises them without a marker.
    package static func restore(_ place: String, known: [String], files: any Files) throws {
        for old in names(of: place, replaced) where files.exists(old) {
            if files.exists(place) { _ = try clear(old, known: known, files: files) } else { try files.rename(old, to: place) }
        }
        for leftover in names(of: place) { _ = try clear(leftover, known: known, files: files) }
        try removeMarker(in: place, files: files)
    }

    /// Bytes that `restore` or the next `PendingFolder` would set free.
    package static func reusableBytes(of place: String, known: [String], files: any Files) throws -> Int64 {
        try (names(of: place) + (files.exists(place) ? names(of: place, replaced) : [])).reduce(0) {
            try $0 + recognisedBytes(in: $1, known: known, files: files)
        }
    }

    /// Bytes of what the program made in a folder, by its marker and the names it is known to write.
    package static func recognisedBytes(in folder: String, known: [String], files: any Files) throws -> Int64 {
        guard files.isDirectory(folder) else { return 0 }
        return try Set(try recorded(in: folder, files: files) + known).map { folder + "/" + $0 }.reduce(0) { sum, path in
            try sum + (files.exists(path) && !files.isDirectory(path) ? Int64(files.byteCount(of: path)) : 0)
        }
    }

    /// Removes from `folder` what the program made there, and then the folder itself when nothing is left in it.
    ///
    /// - Parameter known: names that are the program's beside those that the folder's marker records.
    /// - Returns: true when nothing stands at `folder` any more.
    package static func clear(_ folder: String, known: [String] = [], files: any Files) throws -> Bool {
        guard files.exists(folder) else { return true }
        guard files.isDirectory(folder) else { return false }
        // Deepest first: a folder can only go after what is in it.
        for name in Set(try recorded(in: folder, files: files) + known).sorted(by: >) {
            let path = folder + "/" + name
            if files.isDirectory(path), try !files.list(path).isEmpty { continue }
            try files.remove(path)
        }
        guard try files.list(folder).allSatisfy({ $0 == marker }) else { return false }
        try files.remove(folder + "/" + marker)
        try files.remove(folder)
        return true
    }

    private static let replaced = ".replaced"

    private static func names(of place: String, _ suffix: String = ".partial") -> [String] {
        [place + suffix] + (2...9).map { "\(place)\(suffix)-\($0)" }
    }

    private static func recorded(in folder: String, files: any Files) throws -> [String] {
        guard files.exists(folder + "/" + marker) else { return [] }
        // A line that is cut off names an entry that was never made; a path that leads out of the folder is not one of ours.
        return try files.readText(folder + "/" + marker).split(separator: "\n").map(String.init).filter(\.isPathInFolder)
    }

    private static func removeMarker(in folder: String, files: any Files) throws {
        if files.exists(folder + "/" + marker) { try files.remove(folder + "/" + marker) }
    }
}

/// Names recorded so far in one folder.
private final class Recorded: Sendable {
    private let names = Mutex<Set<String>>([])
    func contains(_ name: String) -> Bool { names.withLock { $0.contains(name) } }
    func insert(_ name: String) { _ = names.withLock { $0.insert(name) } }
}

/// The disk, recording in `folder`'s marker each name before it is made there.
private struct RecordedFiles: Files {
    let disk: any Files
    let folder: String
    let recorded: Recorded

    private func record(_ path: String) throws {
        guard path.hasPrefix(folder + "/") else { return }
        let name = String(path.dropFirst(folder.count + 1))
        guard !name.isEmpty, !recorded.contains(name) else { return }
        let writer = try disk.openAppending(folder + "/" + PendingFolder.marker)
        try Array((name + "\n").utf8).withUnsafeBytes { try writer.write($0) }
        try writer.sync()
        try writer.close()
        recorded.insert(name)
    }

    func read(_ path: String) throws -> [UInt8] { try disk.read(path) }
    func map(_ path: String) throws -> MappedFile { try disk.map(path) }
    func byteCount(of path: String) throws -> Int { try disk.byteCount(of: path) }
    func exists(_ path: String) -> Bool { disk.exists(path) }
    func isLink(_ path: String) -> Bool { disk.isLink(path) }
    func isDirectory(_ path: String) -> Bool { disk.isDirectory(path) }
    func list(_ directory: String) throws -> [String] { try disk.list(directory) }
    func remove(_ path: String) throws { try disk.remove(path) }
    func freeBytes(at path: String) throws -> Int64 { try disk.freeBytes(at: path) }

    func createDirectory(_ path: String) throws {
        let parent = RealFiles.parent(of: path)
        if parent.hasPrefix(folder + "/") { try createDirectory(parent) }
        try record(path)
        try disk.createDirectory(path)
    }

    func rename(_ from: String, to: String) throws {
        try record(to)
        try disk.rename(from, to: to)
    }

    func create(_ path: String) throws -> any FileWriter {
        try record(path)
        return try disk.create(path)
    }

    func openAppending(_ path: String) throws -> any FileWriter {
        try record(path)
        return try disk.openAppending(path)
    }
}
