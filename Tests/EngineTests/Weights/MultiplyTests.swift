import LorikeetDevices
import LorikeetGround
import Testing

@testable import LorikeetEngine

/// The product of decoding against expansion and a plain sum in float64.
struct MultiplyTests {
    /// Sums of up to 4,100 products in float32, in lanes: far below a rounding a term.
    static let tolerance: Double = 2e-6
    let cpu = CPU(threads: 2)

    func stores(rows: Int, columns: Int) throws -> [any WeightStore] {
        let source = try FloatStore(rows: rows, columns: columns, copying: noise(rows * columns, seed: 7))
        var stores: [any WeightStore] = [
            source, try HalfStore.convert(source, to: .f16, name: "w", cpu: cpu),
            try HalfStore.convert(source, to: .bf16, name: "w", cpu: cpu),
            try NF4Store.quantise(source, name: "w", cpu: cpu),
        ]
        for format in BlockFormat.allCases where columns % format.blockElements == 0 {
            let count = rows * columns / format.blockElements * format.blockBytes
            let bytes = try StoredBytes(count: count) { memory in
                // Bits of a small float16 throughout: any field is finite.
                for i in 0..<count { memory.storeBytes(of: i % 2 == 0 ? UInt8(i * 7 & 255) : 0x21, toByteOffset: i, as: UInt8.self) }
            }
            stores.append(try BlockStore(rows: rows, columns: columns, format: format, bytes: bytes, name: "w"))
        }
        return stores
    }

    @Test(arguments: [(3, 1), (7, 70), (2, 131), (6, 512), (9, 4096), (2, 4100), (5, 2304)])
    func `the product is that of the expanded matrix`(rows: Int, columns: Int) throws {
        for store in try stores(rows: rows, columns: columns) {
            let weights = expanded(store)
            for count in [1, 2, 3, 4, 5, 8] {
                let x = noise(count * columns, seed: 3)
                let ldy = rows + 2
                var y = [Float](repeating: 777, count: count * ldy)
                y.withUnsafeMutableBufferPointer { buffer in
                    guard let base = buffer.baseAddress else { return }
                    store.multiply(rows: 1..<rows, x: x, count: count, into: base + 1, ldy: ldy)
                }
                for i in 0..<count {
                    #expect(y[i * ldy] == 777 && y[i * ldy + rows] == 777, "only the rows asked for are written")
                    for r in 1..<rows {
                        var sum = 0.0
                        var size = 0.0
                        for c in 0..<columns {
                            let product = Double(x[i * columns + c]) * Double(weights[r * columns + c])
                            sum += product
                            size += abs(product)
                        }
                        let error = abs(Double(y[i * ldy + r]) - sum)
                        #expect(error <= Self.tolerance * size, "\(store.formatName) \(rows)x\(columns) n=\(count)")
                    }
                }
            }
        }
    }

    /// The sum in the one order of decoding: eight lanes along a piece of columns, the lanes in their order, the tail, the pieces in their order.
    private func ordered(_ w: ArraySlice<Float>, _ x: ArraySlice<Float>, piece: Int) -> Float {
        var result: Float = 0
        for start in stride(from: 0, to: w.count, by: piece) {
            let (w, x) = (Array(w.dropFirst(start).prefix(piece)), Array(x.dropFirst(start).prefix(piece)))
            var lanes = [Float](repeating: 0, count: 8)
            let whole = w.count & ~7
            for c in 0..<whole { lanes[c % 8].addProduct(w[c], x[c]) }
            var tail: Float = 0
            for c in whole..<w.count { tail.addProduct(w[c], x[c]) }
            result += lanes.dropFirst().reduce(lanes[0], +) + tail
        }
        return result
    }

    @Test(arguments: [(19, 576), (16, 1536), (9, 2304), (11, 70)])
    func `every product is summed in the same order, from whatever form and for whatever number of rows`(rows: Int, columns: Int) throws {
        for store in try stores(rows: rows, columns: columns) {
            let weights = expanded(store)
            let piece = store.directFloats == nil ? decodingTileColumns : columns
            for count in [1, 2, 7, 16] {
                let x = noise(count * columns, seed: 21)
                var y = [Float](repeating: 777, count: count * rows)
                store.multiply(rows: 0..<rows, x: x, count: count, into: &y, ldy: rows)
                for i in 0..<count {
                    let expected = (0..<rows).map { ordered(weights[$0 * columns..<($0 + 1) * columns], x[i * columns..<(i + 1) * columns], piece: piece) }
                    #expect(Array(y[i * rows..<(i + 1) * rows]) == expected, "\(store.formatName) \(rows)x\(columns) n=\(count) row \(i)")
                }
            }
        }
    }

    @Test func `a row of x gives the same bits alone and among others`() throws {
        for store in try stores(rows: 7, columns: 2304) {
            let x = noise(8 * 2304, seed: 9)
            var together = [Float](repeating: 0, count: 56)
            store.multiply(rows: 0..<7, x: x, count: 8, into: &together, ldy: 7)
            for i in 0..<8 {
                var alone = [Float](repeating: 0, count: 7)
                store.multiply(rows: 0..<7, x: Array(x[i * 2304..<(i + 1) * 2304]), count: 1, into: &alone, ldy: 7)
                #expect(alone == Array(together[7 * i..<7 * i + 7]), "\(store.formatName)")
            }
        }
    }
}
