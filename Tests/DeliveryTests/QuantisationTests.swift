import Foundation
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// Against llama.cpp's own quantiser (Tests/Reference/make_quantisation.py).
struct QuantisationTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
        path: "Reference/quantisation"
    ).path

    private func json(_ name: String) throws -> JSON { try JSON.parse(RealFiles().read(Self.folder + "/" + name), source: name) }

    @Test(arguments: GGUFForm.allCases) func `each tensor gets the type that llama.cpp gives it`(form: GGUFForm) throws {
        let file = try json("mix.json")
        #expect(file["file_types"]?[form.rawValue]?.int == Int(form.fileType))
        let letters = try #require(file["letters"]?.object).entries.map { ($0.value.string ?? "", $0.key) }
        let names = Dictionary(uniqueKeysWithValues: letters)
        let models = try #require(file["models"]?.array)
        #expect(models.count == 10)
        for model in models {
            let tensors = try #require(model["tensors"]?.array).map { tensor in
                (name: tensor.array?.first?.string ?? "", shape: tensor.array?.last?.array?.compactMap(\.int) ?? [])
            }
            let types = try #require(model["types"]?[form.rawValue]?.string).map { names[String($0)] ?? "" }
            let mix = try QuantisationMix(
                form: form, architecture: #require(model["architecture"]?.string), layers: #require(model["layers"]?.int),
                heads: #require(model["heads"]?.int), keyHeads: #require(model["key_heads"]?.int),
                isTied: !tensors.contains { $0.name == "output.weight" })
            #expect(types.count == tensors.count && types.count > 20)
            for (tensor, type) in zip(tensors, types) where mix.type(of: tensor.name, shape: tensor.shape).rawValue != type {
                Issue.record("\(model["name"]?.string ?? ""): \(tensor) is \(mix.type(of: tensor.name, shape: tensor.shape)), not \(type)")
            }
        }
    }

    /// Root mean square error, with llama.cpp's weights of a type's errors and without.
    private func errors(_ values: [Float], _ back: [Float], _ type: ElementType) -> [Double] {
        var (weighted, weights, plain) = (0.0, 0.0, 0.0)
        for first in stride(from: 0, to: values.count, by: 32) {
            var squares = 0.0
            for value in values[first..<first + 32] { squares += Double(value) * Double(value) }
            let root = (squares / 32).squareRoot()
            for i in first..<first + 32 {
                let value = Double(values[i])
                let weight: Double =
                    switch type {
                    case .q4_K, .q5_K: root + abs(value)
                    case .q6_K: value * value
                    default: 1
                    }
                let difference = value - Double(back[i])
                weighted += weight * difference * difference
                weights += weight
                plain += difference * difference
            }
        }
        return [(weighted / weights).squareRoot(), (plain / Double(values.count)).squareRoot()]
    }

    @Test(arguments: [ElementType.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .q5_K, .q6_K])
    func `errors on real rows are no higher than llama.cpp's`(type: ElementType) throws {
        let file = try SafetensorsFile(path: Self.folder + "/rows.safetensors")
        let expected = try json("errors.json")
        #expect(file.names.count == 4)
        for name in file.names {
            let view = try #require(file.tensors[name])
            let (rows, columns) = (view.shape[0], view.shape[1])
            let values = view.bytes.bindMemory(to: Float16.self).map { Float($0) }
            var blocks = [UInt8](repeating: 0, count: try #require(type.byteCount(shape: view.shape)))
            let fits = blocks.withUnsafeMutableBytes { out in out.baseAddress.map { encode(values, count: values.count, as: type, into: $0) } }
            #expect(fits == true)
            let stored = try StoredBytes(count: blocks.count) { memory in memory.copyMemory(from: blocks, byteCount: blocks.count) }
            let store = try BlockStore(rows: rows, columns: columns, format: #require(BlockFormat(rawValue: type.rawValue)), bytes: stored, name: name)
            var back = [Float](repeating: 0, count: values.count)
            store.expand(rows: 0..<rows, into: &back)
            let theirs = try #require(expected[name]?[type.rawValue]?.array).compactMap(\.double)
            let ours = errors(values, back, type)
            #expect(ours[0] <= theirs[0] && ours[1] <= theirs[1], "\(name): \(ours), llama.cpp \(theirs)")
            // Not a comparison with something else: as close as these searches come.
            #expect(ours[0] > 0.6 * theirs[0])
        }
    }
}
