import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// A tensor of a model's file, read in blocks of rows; only the blocks that were asked for are in memory. Calls may come from several threads.
package struct RowBlocks {
    private let view: TensorView
    private let matrix: StoredMatrix
    /// The whole matrix, read in place from the mapped file, where its scales stand in other tensors.
    private let whole: (any WeightStore)?
    private let scratch = Scratch()

    /// - Throws: exit 2 where shape, size, type or row permutation do not fit together.
    package init(_ view: TensorView) throws {
        self.view = view
        matrix = try StoredMatrix(view.asMatrix)
        whole = view.scaling == nil ? nil : try loadStore(view: view.asMatrix, storage: .stored, cpu: nil)
    }

    /// Calls `body` with some rows as a matrix of their own, in the file's form; a vector is one row. The matrix is there until `body` returns.
    package func withStore<Value>(_ rows: Range<Int>, _ body: (any WeightStore) throws -> Value) throws -> Value {
        if let whole { return try body(StoreRows(whole: whole, first: rows.lowerBound, rows: rows.count)) }
        let form = view.asMatrix
        let (first, count) = view.shape.count < 2 ? (0, matrix.rows) : (rows.lowerBound, rows.count)
        let rowBytes = form.byteCount / matrix.rows
        let range = first * rowBytes..<(first + count) * rowBytes
        form.prefetch(after: range)
        return try scratch.with(bytes: range.count) { memory in
            try form.read(range, into: UnsafeMutableRawBufferPointer(start: memory, count: range.count))
            // A vector in another order was read as one column.
            let isVector = view.shape.count < 2
            return try body(
                storedForm(
                    matrix.form, rows: isVector ? 1 : count, columns: isVector ? matrix.rows * matrix.columns : matrix.columns,
                    bytes: StoredBytes(owner: scratch, base: memory, count: range.count), name: view.name))
        }
    }

    /// Subtracts `TensorView.storedOffset` from expanded values.
    package func finish(_ values: UnsafeMutablePointer<Float>, count: Int) {
        guard view.storedOffset != 0 else { return }
        for i in 0..<count { values[i] -= view.storedOffset }
    }
}

/// Some rows of a matrix.
struct StoreRows: WeightStore {
    let whole: any WeightStore
    let first: Int
    let rows: Int

    var columns: Int { whole.columns }
    var storedBytes: Int { whole.storedBytes / max(1, whole.rows) * rows }
    /// Never a storage's own name: rows are converted as such, whatever the whole is.
    var formatName: String { "rows of " + whole.formatName }

    func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        whole.expand(rows: first + rows.lowerBound..<first + rows.upperBound, into: destination)
    }

    func expand(row: Int, columns: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        whole.expand(row: first + row, columns: columns, into: destination)
    }
}
