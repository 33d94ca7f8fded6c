import LorikeetDevices
import LorikeetGround
import Testing

@testable import LorikeetEngine

/// NF4 against what bitsandbytes stores (Tests/Reference/make_reference.py says how it was dumped).
struct NF4Tests {
    static let families = ["llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2"]
    let cpu = CPU(threads: 2)

    /// One matrix of a fixture and bitsandbytes' rounding of it.
    struct Matrix {
        let name: String
        let rows: Int
        let columns: Int
        let weights, blockMaxima, nestedMaxima, nestedValues: [Float]
        let codes, maxima: [UInt8]
        let offset: Float

        func source() throws -> FloatStore { try FloatStore(rows: rows, columns: columns, copying: weights) }
    }

    func matrices(_ family: String) throws -> [Matrix] {
        let file = try TensorFixture("reference/\(family)/nf4.safetensors")
        let names = file.names.filter { $0.hasSuffix(".codes") }.map { String($0.dropLast(6)) }
        #expect(names.count == 3)
        return try names.map { name in
            let shape = try file.shape(name + ".weight")
            return Matrix(
                name: name, rows: shape[0], columns: shape[1], weights: try file.floats(name + ".weight"),
                blockMaxima: try file.floats(name + ".block_absmax"),
                nestedMaxima: try file.floats(name + ".nested_absmax"),
                nestedValues: try file.floats(name + ".nested_code"), codes: try file.bytes(name + ".codes"),
                maxima: try file.bytes(name + ".absmax"), offset: try file.floats(name + ".offset")[0])
        }
    }

    @Test func `the table of nested values is bitsandbytes' bit for bit`() throws {
        #expect(NF4.nestedValues == (try matrices("llama"))[0].nestedValues)
        #expect(NF4.nestedValues.count == 256)
    }

    @Test(arguments: families) func `codes and block maxima are bitsandbytes' bit for bit`(family: String) throws {
        for matrix in try matrices(family) {
            var maxima: [Float] = []
            let store = try NF4Store.quantise(matrix.source(), name: matrix.name, cpu: cpu) { maxima = $0 }
            #expect(store.codes == matrix.codes, "\(matrix.name)")
            #expect(maxima == matrix.blockMaxima, "\(matrix.name)")
            // The offset is our own: the same mean, summed in another order.
            #expect(abs(store.offset - matrix.offset) <= 2 * matrix.offset.ulp, "\(matrix.name)")
        }
    }

    @Test(arguments: families) func `fed bitsandbytes' offset the second quantisation is equal bit for bit`(
        family: String
    ) throws {
        for matrix in try matrices(family) {
            let store = try NF4Store.quantise(
                matrix.source(), name: matrix.name, offset: matrix.offset, cpu: cpu)
            #expect(store.maxima == matrix.maxima, "\(matrix.name)")
            #expect(store.nestedMaxima == matrix.nestedMaxima, "\(matrix.name)")
            #expect(store.storedBytes == BaseStorage.nf4.bytes(rows: matrix.rows, columns: matrix.columns, stored: .f32))
        }
    }

    @Test(arguments: families) func `expansion is bitsandbytes' formula with its roundings`(family: String) throws {
        for matrix in try matrices(family) {
            let store = try NF4Store(
                rows: matrix.rows, columns: matrix.columns, codes: matrix.codes, maxima: matrix.maxima,
                nestedMaxima: matrix.nestedMaxima, offset: matrix.offset)
            let expected = (0..<matrix.rows * matrix.columns).map { i -> Float in
                let product = matrix.nestedValues[Int(matrix.maxima[i / 64])] * matrix.nestedMaxima[i / 64 / 256]
                let scale = product + matrix.offset
                let byte = matrix.codes[i / 2]
                return NF4.values[Int(i % 2 == 0 ? byte >> 4 : byte & 15)] * scale
            }
            #expect(expanded(store) == expected, "\(matrix.name)")
            expectPartsEqualWhole(store)
        }
    }

    @Test func `a matrix of many nested blocks keeps each block's own scale`() throws {
        // 300 x 130: rows straddle blocks, 610 blocks, three nested blocks, the last block of 24 weights.
        let weights = noise(300 * 130).enumerated().map { $1 * Float(1 + $0 / 5000) }
        let store = try NF4Store.quantise(FloatStore(rows: 300, columns: 130, copying: weights), name: "w", cpu: cpu)
        #expect(store.nestedMaxima.count == 3)
        expectPartsEqualWhole(store)
        for (value, weight) in zip(expanded(store), weights) {
            // Half the widest gap between values (0.152), and a little for the rounded scale.
            #expect(abs(value - weight) <= 0.18 * 8)
        }
        let one = try NF4Store.quantise(
            FloatStore(rows: 300, columns: 130, copying: weights), name: "w", cpu: CPU(threads: 1))
        #expect(one.codes == store.codes && one.maxima == store.maxima && one.offset == store.offset)
    }

    @Test func `a block of zeros stays zero`() throws {
        let weights = [Float](repeating: 0, count: 64) + noise(64) + [0, 0, 0]
        let store = try NF4Store.quantise(FloatStore(rows: 1, columns: 131, copying: weights), name: "w", cpu: cpu)
        let values = expanded(store)
        #expect(values[0..<64].allSatisfy { $0 == 0 })
        #expect(values[128...].allSatisfy { $0 == 0 })
        let allZero = [Float](repeating: 0, count: 128)
        let zero = try NF4Store.quantise(FloatStore(rows: 2, columns: 64, copying: allZero), name: "w", cpu: cpu)
        #expect(expanded(zero) == allZero)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity], [5, 130]) func `a weight that is not finite is an error`(
        bad: Float, place: Int
    ) throws {
        var weights = noise(131)
        weights[place] = bad
        let source = try FloatStore(rows: 1, columns: 131, copying: weights)
        #expect(throws: LorikeetError.self) { try NF4Store.quantise(source, name: "w", cpu: cpu) }
    }

    @Test func `parts of the wrong length are an error`() {
        #expect(throws: LorikeetError.self) {
            try NF4Store(rows: 2, columns: 64, codes: [UInt8](repeating: 0, count: 63), maxima: [0, 0], nestedMaxima: [1], offset: 0)
        }
    }
}
