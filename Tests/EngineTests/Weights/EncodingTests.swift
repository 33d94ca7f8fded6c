import LorikeetDevices
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// Floats written as GGUF's blocks.
struct EncodingTests {
    static let written: [BlockFormat] = [.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .q5_K, .q6_K]

    func bytes(_ values: [Float], _ format: BlockFormat) throws -> [UInt8]? {
        let type = try #require(ElementType(rawValue: format.rawValue))
        let bytes = try #require(type.byteCount(shape: [values.count]))
        var fits = false
        let blocks = [UInt8](unsafeUninitializedCapacity: bytes) { out, count in
            fits = out.baseAddress.map { encode(values, count: values.count, as: type, into: $0) } ?? false
            count = bytes
        }
        return fits ? blocks : nil
    }

    func expand(_ blocks: [UInt8], _ format: BlockFormat, count: Int) throws -> [Float] {
        try expanded(BlockStoreTests().store(format, blocks, rows: 1, columns: count))
    }

    @Test func `what is written is said before`() {
        let types = ElementType.allCases.filter(\.isWritten).map(\.rawValue)
        #expect(Set(types) == Set(["f32", "f16", "bf16"] + Self.written.map(\.rawValue)))
    }

    /// Root mean square error of evenly distributed values in [-1, 1], as a part of the step 2 / codes that the whole range would have.
    /// 1 / √12 = 0.289 is what rounding to even steps costs; groups that do not reach both ends need less.
    @Test(arguments: zip(written, [255, 16, 16, 32, 32, 16, 32, 64] as [Float]))
    func `blocks come back within half a step`(format: BlockFormat, codes: Float) throws {
        let values = noise(4096)
        let back = try expand(#require(try bytes(values, format)), format, count: values.count)
        let differences = zip(values, back).map { abs($0 - $1) }
        let root = (differences.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot() * codes / 2
        #expect(root > 0.2 && root < 0.31, "\(root)")
        #expect((differences.max() ?? 9) < 3.2 / codes, "\((differences.max() ?? 9) * codes / 2) steps")
    }

    @Test(arguments: written) func `zeros, and values below float16's scales, become zeros`(format: BlockFormat) throws {
        for magnitude in [0, 1e-12, 1e-30, Float.leastNonzeroMagnitude] {
            let values = noise(512).map { $0 * magnitude }
            #expect(try expand(#require(try bytes(values, format)), format, count: 512).allSatisfy { $0 == 0 })
        }
    }

    @Test(arguments: written) func `a block of one value holds it`(format: BlockFormat) throws {
        for value: Float in [0.5, -0.5, 3, -1000] {
            let back = try expand(#require(try bytes([Float](repeating: value, count: 256), format)), format, count: 256)
            #expect(back.allSatisfy { abs($0 / value - 1) < 0.004 }, "\(value): \(back[0])")
        }
    }

    @Test(arguments: written) func `a single large value among zeros keeps its place`(format: BlockFormat) throws {
        for place in [0, 15, 16, 31, 32, 100, 255] {
            for value: Float in [-7, 7] {
                var values = [Float](repeating: 0, count: 256)
                values[place] = value
                let back = try expand(#require(try bytes(values, format)), format, count: 256)
                #expect(abs(back[place] / value - 1) < 0.004, "\(place) \(back[place])")
                // Scale and minimum of a negative one are rounded to float16 each.
                #expect(back.indices.allSatisfy { $0 == place || abs(back[$0]) < 0.004 * 7 })
            }
        }
    }

    @Test(arguments: written) func `a scale beyond float16 is told`(format: BlockFormat) throws {
        var values = noise(512)
        values[300] = 1e9
        #expect(try bytes(values, format) == nil)
        values[300] = .greatestFiniteMagnitude
        #expect(try bytes(values, format) == nil)
    }

    /// GGUF's own values are found again: the blocks hold them exactly.
    @Test(arguments: [BlockFormat.q4_0, .q4_1, .q5_0, .q5_1, .q8_0]) func `expanded blocks are written with no error`(format: BlockFormat) throws {
        let values = try TensorFixture("weights/gguf_blocks.safetensors").floats("\(format.rawValue).quantised_values")
        let back = try expand(#require(try bytes(values, format)), format, count: values.count)
        let largest = values.reduce(0) { max($0, abs($1)) }
        #expect(zip(values, back).allSatisfy { abs($0 - $1) < 1e-3 * largest })
    }
}
