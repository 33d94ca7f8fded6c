import Foundation
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// Rows of a 4-bit base that an adapter of a real run changed by 0.2 % of their size, against llama.cpp's own quantiser
/// (Tests/Reference/make_trained_rows.py).
struct TrainedBaseTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
        path: "Reference/quantisation"
    ).path
    private static let bases: [ElementType] = [.q4_1, .q4_0, .q4_K]
    private static let forms: [ElementType] = [.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .q5_K, .q6_K]

    private func expanded(_ blocks: UnsafeRawBufferPointer, _ type: ElementType, rows: Int, columns: Int) throws -> [Float] {
        let source = try #require(blocks.baseAddress)
        let stored = try StoredBytes(count: blocks.count) { memory in memory.copyMemory(from: source, byteCount: blocks.count) }
        let store = try BlockStore(rows: rows, columns: columns, format: #require(BlockFormat(rawValue: type.rawValue)), bytes: stored, name: "rows")
        var values = [Float](repeating: 0, count: rows * columns)
        store.expand(rows: 0..<rows, into: &values)
        return values
    }

    /// The base's rows and the trained ones: base + b · a.
    private func rows(_ type: ElementType) throws -> (base: [Float], trained: [Float], columns: Int) {
        let file = try SafetensorsFile(path: Self.folder + "/trained.safetensors")
        let (a, b) = try (#require(file.tensors["a"]), #require(file.tensors["b"]))
        let (rank, columns, rows) = (a.shape[0], a.shape[1], b.shape[0])
        let (down, up) = (a.bytes.bindMemory(to: Float.self), b.bytes.bindMemory(to: Float.self))
        let base = try expanded(#require(file.tensors[type.rawValue]).bytes, type, rows: rows, columns: columns)
        var trained = base
        for row in 0..<rows {
            for column in 0..<columns {
                var change: Float = 0
                for k in 0..<rank { change += up[row * rank + k] * down[k * columns + column] }
                trained[row * columns + column] += change
            }
        }
        return (base, trained, columns)
    }

    /// The weight that llama.cpp's search gives a value's squared error: `root` is the root mean square of the value's group.
    private func weight(_ value: Double, root: Double, _ type: ElementType) -> Double {
        switch type {
        case .q4_K, .q5_K: root + abs(value)
        case .q6_K: value * value
        default: 1
        }
    }

    private func weightedError(_ values: [Float], _ back: [Float], _ type: ElementType) -> Double {
        var (error, weights) = (0.0, 0.0)
        for first in stride(from: 0, to: values.count, by: 32) {
            let group = first..<first + 32
            let root = (group.reduce(0.0) { $0 + Double(values[$1]) * Double(values[$1]) } / 32).squareRoot()
            for i in group {
                let weight = weight(Double(values[i]), root: root, type)
                let difference = Double(values[i]) - Double(back[i])
                error += weight * difference * difference
                weights += weight
            }
        }
        return (error / weights).squareRoot()
    }

    /// As much of the change is left as llama.cpp's blocks leave (none of them needs to leave more than all), at no higher error. Where llama.cpp's
    /// blocks undo the training, ours keep it, at the error that this needs. The part of the change that is left is a projection, which these 98,304
    /// values measure to about ± 0.05 in blocks of four bits.
    @Test(arguments: bases, forms) func `what training changed is kept`(base type: ElementType, form: ElementType) throws {
        let (base, trained, columns) = try rows(type)
        var blocks = [UInt8](repeating: 0, count: try #require(form.byteCount(shape: [base.count / columns, columns])))
        let fits = blocks.withUnsafeMutableBytes { out in out.baseAddress.map { encode(trained, count: trained.count, as: form, into: $0) } }
        #expect(fits == true)
        let back = try blocks.withUnsafeBytes { try expanded($0, form, rows: base.count / columns, columns: columns) }
        var (left, whole) = (0.0, 0.0)
        for i in base.indices {
            let change = Double(trained[i] - base[i])
            left += Double(back[i] - base[i]) * change
            whole += change * change
        }
        let table = try JSON.parse(RealFiles().read(Self.folder + "/trained.json"), source: "trained.json")
        let theirs = try #require(table[type.rawValue]?[form.rawValue]?.array).compactMap(\.double)
        let (kept, error) = (left / whole, weightedError(trained, back, form) / theirs[0])
        #expect(kept > min(theirs[2], 1) - 0.06, "\(kept), llama.cpp \(theirs[2])")
        if theirs[2] > 0.1 {
            #expect(error < 1.0001, "\(error)")
        } else {
            #expect(kept > (type == .q4_1 && form == .q4_K ? 0.25 : 0.5), "\(kept), llama.cpp \(theirs[2])")
            #expect(error < 10, "\(error)")
        }
    }
}
