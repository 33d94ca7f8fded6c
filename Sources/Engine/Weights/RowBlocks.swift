import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// A tensor of a model's file, read in blocks of rows; only the block that was asked for is in memory.
package struct RowBlocks {
    private let view: TensorView
    private let matrix: StoredMatrix

    /// - Throws: exit 2 where shape, size, type or row permutation do not fit together.
    package init(_ view: TensorView) throws {
        self.view = view
        matrix = try StoredMatrix(view.asMatrix)
    }

    /// Some rows as a matrix of their own, in the file's form; a vector is one row.
    package func store(_ rows: Range<Int>) throws -> any WeightStore {
        let form = view.asMatrix
        let (first, count) = view.shape.count < 2 ? (0, matrix.rows) : (rows.lowerBound, rows.count)
        let rowBytes = form.byteCount / matrix.rows
        let bytes = try StoredBytes(count: count * rowBytes) { memory in
            try form.read(first * rowBytes..<(first + count) * rowBytes, into: UnsafeMutableRawBufferPointer(start: memory, count: count * rowBytes))
        }
        // A vector in another order was read as one column.
        let isVector = view.shape.count < 2
        return try storedForm(
            matrix.form, rows: isVector ? 1 : count, columns: isVector ? matrix.rows * matrix.columns : matrix.columns, bytes: bytes, name: view.name)
    }

    /// Subtracts `TensorView.storedOffset` from expanded values.
    package func finish(_ values: UnsafeMutablePointer<Float>, count: Int) {
        guard view.storedOffset != 0 else { return }
        for i in 0..<count { values[i] -= view.storedOffset }
    }
}
