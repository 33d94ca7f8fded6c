import LorikeetJSON
import MemoryFiles

/// One input as files.
extension MemoryFiles {
    /// One file.
    init(_ path: String, _ bytes: UnsafeRawBufferPointer) { self.init([path: Array(bytes)]) }

    init(_ path: String, _ bytes: [UInt8]) { self.init([path: bytes]) }

    /// A folder from one input: `==> NAME` on a line, then the file. Of safetensors the input has the header's text; length and data are made here, so
    /// that a change of the header leaves a file that is whole.
    init(folder: String, _ bytes: UnsafeRawBufferPointer) {
        self.init()
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
}
