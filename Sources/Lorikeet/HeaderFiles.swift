import LorikeetGround

/// The disk, and files beside it of which only the header is at hand, as if they were there: a model can be opened and planned with before its
/// weights are fetched. Whoever reads the weights gets an error.
struct HeaderFiles: Files {
    let disk: any Files
    /// By path.
    let headers: [String: MappedFile]

    init(_ disk: any Files, headers: [MappedFile]) {
        self.disk = disk
        self.headers = Dictionary(headers.map { ($0.path, $0) }) { $1 }
    }

    private func refuse(_ path: String) throws {
        guard headers[path] == nil else {
            throw LorikeetError.machine("only the header of the file has been fetched", at: path, fix: "fetch the file: lorikeet pull")
        }
    }

    func map(_ path: String) throws -> MappedFile { try headers[path] ?? disk.map(path) }
    func byteCount(of path: String) throws -> Int { try headers[path]?.count ?? disk.byteCount(of: path) }
    func exists(_ path: String) -> Bool { headers[path] != nil || disk.exists(path) }

    func list(_ directory: String) throws -> [String] {
        let prefix = RealFiles.trimmed(directory) + "/"
        let names = headers.keys.filter { $0.utf8.starts(with: prefix.utf8) }.compactMap { String($0.utf8.dropFirst(prefix.utf8.count)) }.filter {
            !$0.holdsSlash
        }
        return try Set(disk.list(directory) + names).sorted()
    }

    func read(_ path: String) throws -> [UInt8] {
        try refuse(path)
        return try disk.read(path)
    }

    func open(_ path: String) throws -> any FileReader {
        try refuse(path)
        return try disk.open(path)
    }

    // The headers are no part of the disk: what is written goes there.
    func modificationSeconds(of path: String) -> Double? { disk.modificationSeconds(of: path) }
    func touch(_ path: String) { disk.touch(path) }
    func isLink(_ path: String) -> Bool { disk.isLink(path) }
    func isDirectory(_ path: String) -> Bool { disk.isDirectory(path) }
    func createDirectory(_ path: String) throws { try disk.createDirectory(path) }
    func remove(_ path: String) throws { try disk.remove(path) }
    func rename(_ from: String, to: String) throws { try disk.rename(from, to: to) }
    func createLink(_ path: String, to target: String) throws -> Bool { try disk.createLink(path, to: target) }
    func create(_ path: String) throws -> any FileWriter { try disk.create(path) }
    func openAppending(_ path: String) throws -> any FileWriter { try disk.openAppending(path) }
    func freeBytes(at path: String) throws -> Int64 { try disk.freeBytes(at: path) }
}
