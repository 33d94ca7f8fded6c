import Foundation
import LorikeetEngine
import Testing

/// A safetensors file of the fixtures, read by hand: tests of the weights need no other room to be right.
struct TensorFixture {
    struct Missing: Error { let name: String }
    private let data: Data
    private let header: [String: Any]
    private let start: Int

    init(_ path: String) throws {
        guard let folder = Bundle.module.resourceURL else { throw Missing(name: "Fixtures") }
        data = try Data(contentsOf: folder.appendingPathComponent("Fixtures/" + path))
        let length = data.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self)) }
        start = 8 + length
        header = try JSONSerialization.jsonObject(with: data[8..<start]) as? [String: Any] ?? [:]
    }

    var names: [String] { header.keys.filter { $0 != "__metadata__" }.sorted() }

    func shape(_ name: String) throws -> [Int] { try #require(entry(name)["shape"] as? [Int]) }

    func bytes(_ name: String) throws -> [UInt8] {
        let span = try #require(entry(name)["data_offsets"] as? [Int])
        return [UInt8](data[start + span[0]..<start + span[1]])
    }

    func floats(_ name: String) throws -> [Float] {
        let bytes = try bytes(name)
        return bytes.withUnsafeBytes { raw in
            (0..<bytes.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
    }

    private func entry(_ name: String) throws -> [String: Any] {
        guard let entry = header[name] as? [String: Any] else { throw Missing(name: name) }
        return entry
    }
}
