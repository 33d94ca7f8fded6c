import LorikeetDevices

/// A matrix held as float32: what everything else expands to.
package struct FloatStore: WeightStore {
    package let rows: Int
    package let columns: Int
    private let bytes: StoredBytes

    /// - Parameter bytes: [rows, columns] float32, 4-byte aligned, at least `rows * columns * 4` bytes.
    package init(rows: Int, columns: Int, bytes: StoredBytes) {
        self.rows = rows
        self.columns = columns
        self.bytes = bytes
    }

    /// Copies [rows, columns] float32.
    package init(rows: Int, columns: Int, copying values: UnsafePointer<Float>) throws {
        let count = rows * columns
        self.init(
            rows: rows, columns: columns,
            bytes: try StoredBytes(count: count * 4) { memory in
                memory.copyMemory(from: values, byteCount: count * 4)
            })
    }

    /// Expands a matrix of any form once and for all.
    ///
    /// - Throws: exit 4 when memory cannot be had; `Interrupted`.
    package static func convert(_ source: any WeightStore, cpu: CPU?) throws -> FloatStore {
        let columns = source.columns
        let bytes = try StoredBytes(count: source.rows * columns * 4) { memory in
            let out = memory.assumingMemoryBound(to: Float.self)
            try forEachUnit(of: source, multiple: 1, cpu: cpu) { rows, values in
                (out + rows.lowerBound * columns).update(from: values, count: rows.count * columns)
            }
        }
        return FloatStore(rows: source.rows, columns: columns, bytes: bytes)
    }

    package var storedBytes: Int { rows * columns * 4 }
    package var formatName: String { "f32" }
    package var directFloats: UnsafePointer<Float>? { bytes.pointer(as: Float.self) }

    package func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        destination.update(
            from: bytes.pointer(as: Float.self) + rows.lowerBound * columns, count: rows.count * columns)
    }

    package func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        destination.update(
            from: bytes.pointer(as: Float.self) + (row * columns + range.lowerBound), count: range.count)
    }

    package func multiply(
        rows: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int
    ) {
        for i in 0..<count { (y + i * ldy).update(repeating: 0, count: rows.count) }
        addDots(
            weights: bytes.pointer(as: Float.self) + rows.lowerBound * columns, ldw: columns, rows: rows.count,
            length: columns, x: x, ldx: columns, count: count, into: y, ldy: ldy)
    }
}
