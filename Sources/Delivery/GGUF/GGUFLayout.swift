import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Gives a model's float32 tensors the names that they have in its GGUF, and changes their values as that format stores them
/// (see `GGUFWriting.Change`).
struct GGUFLayout: TensorStep {
    let writing: GGUFWriting

    func apply(_ tensor: StreamedTensor) throws -> StreamedTensor {
        let form = tensor.description
        let place = try writing.place(of: form.name, rows: form.shape.first ?? 1)
        let description = TensorDescription(name: place.name, shape: form.shape, type: form.type)
        switch place.change {
        case .none: return StreamedTensor(description: description, open: tensor.open)
        case .plus(let number):
            return StreamedTensor(description: description) {
                let read = try tensor.open()
                return { rows, memory in
                    try read(rows, memory)
                    let values = memory.assumingMemoryBound(to: Float.self)
                    for i in 0..<rows.count * form.columns { values[i] += number }
                }
            }
        case .interleavedHeads(let order):
            guard form.shape.count > 1 else { return vector(tensor, description, order) }
            return StreamedTensor(description: description) {
                let rows = InterleavedRows(order: order, form: form, read: try tensor.open())
                return { try rows.read($0, into: $1) }
            }
        }
    }

    /// A vector whose elements are a matrix's rows: a bias of q or k.
    private func vector(_ tensor: StreamedTensor, _ description: TensorDescription, _ order: RowPermutation) -> StreamedTensor {
        StreamedTensor(description: description) {
            let count = description.columns
            let (read, scratch) = (try tensor.open(), Scratch())
            return { rows, memory in
                try scratch.with(bytes: count * 4) { whole in
                    try read(rows, whole)
                    let (from, to) = (whole.assumingMemoryBound(to: Float.self), memory.assumingMemoryBound(to: Float.self))
                    for i in 0..<count { to[i] = from[order.row(ofSource: i, rows: count)] }
                }
            }
        }
    }
}

/// Reads rows in the order of a GGUF's q and k, in which row 2 p of a head is the p-th of its first half and row 2 p + 1 the p-th of its second.
private struct InterleavedRows {
    private let order: RowPermutation
    private let form: TensorDescription
    private let read: StreamedTensor.Rows
    private let scratch = Scratch()

    init(order: RowPermutation, form: TensorDescription, read: @escaping StreamedTensor.Rows) { (self.order, self.form, self.read) = (order, form, read) }

    /// - Parameter rows: of the file.
    func read(_ rows: Range<Int>, into memory: UnsafeMutableRawPointer) throws {
        let half = form.rows / order.heads / 2
        var first = rows.lowerBound
        // Up to the end of a head at a time.
        while first < rows.upperBound {
            let headEnd = (first / (2 * half) + 1) * 2 * half
            let last = min(rows.upperBound, headEnd)
            for parity in 0..<2 { try readHalf(first..<last, parity, half, memory + (first - rows.lowerBound) * form.columns * 4) }
            first = last
        }
    }

    /// The rows of one parity, which are neighbours in the model's order.
    private func readHalf(_ rows: Range<Int>, _ parity: Int, _ half: Int, _ memory: UnsafeMutableRawPointer) throws {
        let start = rows.lowerBound + (rows.lowerBound % 2 == parity ? 0 : 1)
        guard start < rows.upperBound else { return }
        let count = (rows.upperBound - start + 1) / 2
        let source = order.row(ofSource: start, rows: form.rows)
        let rowBytes = form.columns * 4
        try scratch.with(bytes: count * rowBytes) { floats in
            try read(source..<source + count, floats)
            for row in 0..<count { (memory + (start - rows.lowerBound + 2 * row) * rowBytes).copyMemory(from: floats + row * rowBytes, byteCount: rowBytes) }
        }
    }
}
