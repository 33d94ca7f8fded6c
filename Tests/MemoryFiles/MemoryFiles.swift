import LorikeetGround

/// Files in memory, for reading alone.
package struct MemoryFiles: Files {
    package var contents: [String: [UInt8]]

    package init(_ contents: [String: [UInt8]] = [:]) { self.contents = contents }

    package init(texts: [String: String]) { contents = texts.mapValues { Array($0.utf8) } }

    package func read(_ path: String) throws -> [UInt8] {
        guard let bytes = contents[path] else { throw LorikeetError.input("no such file or directory", at: path).of(.unreadableFile) }
        return bytes
    }
    package func map(_ path: String) throws -> MappedFile {
        let bytes = try read(path)
        return try MappedFile(path: path, count: bytes.count, pieces: [(0, bytes)])
    }
    package func exists(_ path: String) -> Bool { contents[path] != nil || isDirectory(path) }
    package func isDirectory(_ path: String) -> Bool { path == "." || contents.keys.contains { $0.hasPrefix(Self.folder(path)) } }
    package func list(_ directory: String) throws -> [String] {
        let folder = Self.folder(directory)
        return Set(contents.keys.filter { $0.hasPrefix(folder) }.map { String($0.dropFirst(folder.count).prefix { $0 != "/" }) }).sorted()
    }
    package func createDirectory(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    package func remove(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    package func rename(_ from: String, to: String) throws { throw LorikeetError.machine("read only", at: to) }
    package func create(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    package func openAppending(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    package func freeBytes(at path: String) throws -> Int64 { 0 }

    private static func folder(_ path: String) -> String { path == "." ? "" : path.hasSuffix("/") ? path : path + "/" }
}
