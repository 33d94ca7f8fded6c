import LorikeetEngine
import Testing

/// Any range of rows, and any tile of a row, gives what the whole matrix gives.
func expectPartsEqualWhole(_ store: any WeightStore) {
    let whole = expanded(store)
    let columns = store.columns
    var part = [Float](repeating: .nan, count: store.rows * columns)
    for rows in [0..<1, store.rows / 2..<store.rows, store.rows - 1..<store.rows, 1..<min(3, store.rows)] {
        store.expand(rows: rows, into: &part)
        #expect(Array(part[0..<rows.count * columns]) == Array(whole[rows.lowerBound * columns..<rows.upperBound * columns]))
    }
    for row in [0, store.rows - 1] {
        for start in stride(from: 0, to: columns, by: 256) {
            let range = start..<min(start + 256, columns)
            store.expand(row: row, columns: range, into: &part)
            #expect(Array(part[0..<range.count]) == Array(whole[row * columns + start..<row * columns + range.upperBound]))
        }
    }
}

/// The whole matrix by way of the store.
func expanded(_ store: any WeightStore) -> [Float] {
    [Float](unsafeUninitializedCapacity: store.rows * store.columns) { buffer, count in
        if let base = buffer.baseAddress { store.expand(rows: 0..<store.rows, into: base) }
        count = store.rows * store.columns
    }
}

/// Numbers between -1 and 1 that are the same on every machine.
func noise(_ count: Int, seed: UInt64 = 1) -> [Float] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    return (0..<count).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32)) / 2_147_483_648
    }
}
