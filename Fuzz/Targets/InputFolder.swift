import LorikeetGround
import LorikeetJSON

/// Files in memory, for reading alone.
struct MemoryDisk: Files {
    var contents: [String: [UInt8]] = [:]

    /// One file.
    init(_ path: String, _ bytes: UnsafeRawBufferPointer) { contents[path] = Array(bytes) }

    init(_ path: String, _ bytes: [UInt8]) { contents[path] = bytes }

    /// A folder from one input: `==> NAME` on a line, then the file. Of safetensors the input has the header's text; length and data are made here, so
    /// that a change of the header leaves a file that is whole.
    init(folder: String, _ bytes: UnsafeRawBufferPointer) {
        var at = 0
        var name: String?
        var body = 0
        func end(_ end: Int) {
            guard let name else { return }
            let bytes = body < end ? Array(bytes[body..<end]) : []
            contents[folder + "/" + name] = name.hasSuffix(".safetensors") ? Self.safetensors(header: bytes) : bytes
        }
        while at < bytes.count {
            let line = bytes[at...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            if bytes[at..<line].starts(with: Self.mark) {
                end(at - 1)
                name = String(decoding: bytes[(at + Self.mark.count)..<line], as: UTF8.self)
                body = line + 1
            }
            at = line + 1
        }
        end(bytes.count)
    }

    private static let mark = Array("==> ".utf8)
    private static let mostData = 1 << 18

    private static func safetensors(header: [UInt8]) -> [UInt8] {
        let ends = ((try? JSON.parse(header, source: ""))?.object?.entries ?? []).compactMap { $0.value["data_offsets"]?.array?.last?.int }
        let length = UInt64(header.count)
        let data = min(mostData, max(0, ends.max() ?? 0))
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + header + [UInt8](repeating: 0, count: data)
    }

    func read(_ path: String) throws -> [UInt8] {
        guard let bytes = contents[path] else { throw LorikeetError.input("no such file or directory", at: path).of(.unreadableFile) }
        return bytes
    }
    func map(_ path: String) throws -> MappedFile {
        let bytes = try read(path)
        return try MappedFile(path: path, count: bytes.count, pieces: [(0, bytes)])
    }
    func exists(_ path: String) -> Bool { contents[path] != nil || isDirectory(path) }
    func isDirectory(_ path: String) -> Bool { path == "." || contents.keys.contains { $0.hasPrefix(path + "/") } }
    func list(_ directory: String) throws -> [String] {
        let folder = directory == "." ? "" : directory + "/"
        return Set(contents.keys.filter { $0.hasPrefix(folder) }.map { String($0.dropFirst(folder.count).prefix { $0 != "/" }) }).sorted()
    }
    func createDirectory(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    func remove(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    func rename(_ from: String, to: String) throws { throw LorikeetError.machine("read only", at: to) }
    func create(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    func openAppending(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    func freeBytes(at path: String) throws -> Int64 { 0 }
}
