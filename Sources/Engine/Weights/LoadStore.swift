import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// Loads a matrix of a model's file in the form that `storage` asks for.
///
/// A matrix that keeps its form and row order is read in place from the mapped file; a permuted one is copied row by
/// row into Hugging Face's order; another form is made by row blocks, without a float copy of the whole. The mapped pages of what is not read in
/// place are given back.
///
/// - Parameters:
///   - view: [rows, columns], of a float type or of GGUF blocks.
///   - cpu: the threads that convert; nil works on the calling thread.
/// - Throws: exit 2 where shape, size, type or row order cannot be used, or a weight does not fit the form; `Interrupted` where it is converted and
///   `cpu.interruption` says so.
package func loadStore(view: TensorView, storage: BaseStorage, cpu: CPU?) throws -> any WeightStore {
    let stored = try storedForm(view)
    let result = try convert(stored, to: storage, name: view.name, cpu: cpu)
    if storage != .stored, stored.formatName != result.formatName { view.giveBack(0..<view.byteCount) }
    return result
}

/// A matrix in another form, or itself where it has that form (or `storage` is `.stored`).
///
/// - Parameter name: what an error calls it.
package func convert(
    _ source: any WeightStore, to storage: BaseStorage, name: String, cpu: CPU?
) throws -> any WeightStore {
    if storage == .stored || source.formatName == storage.rawValue { return source }
    return switch storage {
    case .stored: source
    case .nf4: try NF4Store.quantise(source, name: name, cpu: cpu)
    case .f16: try HalfStore.convert(source, to: .f16, name: name, cpu: cpu)
    case .bf16: try HalfStore.convert(source, to: .bf16, name: name, cpu: cpu)
    case .f32: try FloatStore.convert(source, cpu: cpu)
    }
}

/// A matrix of a file, its size, type and row order checked.
struct StoredMatrix {
    enum Form {
        /// `.f32`, `.f16` or `.bf16`.
        case float(DeviceElement)
        case blocks(BlockFormat)
        /// bitsandbytes' NF4, whose scales stand in other tensors.
        case nf4(NF4State, firstRow: Int)
        /// 8-bit floats, with scales in another tensor or without.
        case float8(Float8, ScaleBlocks?, firstRow: Int)
    }

    let rows: Int
    let columns: Int
    let form: Form

    /// - Throws: exit 2 where shape, size, type or row order cannot be used.
    init(_ view: TensorView) throws {
        let download = "download the model again"
        guard view.shape.count == 2, view.shape.allSatisfy({ $0 > 0 }) else {
            throw LorikeetError.input(
                "\(view.name) has the shape \(view.shape) where a matrix is needed", at: view.file.path, fix: download)
        }
        (rows, columns) = (view.shape[0], view.shape[1])
        let inFile = view.offset >= 0 && view.byteCount >= 0 && view.offset <= view.file.count - view.byteCount
        guard inFile, let needed = view.type.byteCount(shape: view.shape), needed == view.byteCount,
            // Expanding counts in floats.
            !rows.multipliedReportingOverflow(by: columns).partialValue.multipliedReportingOverflow(by: 4).overflow
        else {
            throw LorikeetError.input(
                "\(view.name) has \(view.byteCount) bytes, which is not what \(rows) x \(columns) of \(view.type.rawValue) take",
                at: view.file.path, fix: download)
        }
        if let heads = view.rowPermutation?.heads, heads <= 0 || rows % heads != 0 || rows / heads % 2 != 0 {
            throw LorikeetError.input(
                "\(view.name) has \(rows) rows, which do not divide into \(heads) heads of two halves", at: view.file.path, fix: download)
        }
        switch view.type {
        case .f32: form = .float(.f32)
        case .f16: form = .float(.f16)
        case .bf16: form = .float(.bf16)
        case .f8_e4m3, .f8_e5m2:
            guard case .blocks(let scales, let first)? = view.scaling else {
                form = .float8(view.type == .f8_e4m3 ? .e4m3 : .e5m2, nil, firstRow: 0)
                break
            }
            form = .float8(view.type == .f8_e4m3 ? .e4m3 : .e5m2, scales, firstRow: first)
        case .nf4, .nf4_other:
            guard case .nf4(let state, let first)? = view.scaling, first * columns % state.blockLength == 0, columns % 2 == 0 else {
                throw LorikeetError.input(
                    "\(view.name) begins or has rows in the middle of an NF4 block", at: view.file.path, fix: "give the model in float16 or bfloat16")
            }
            form = .nf4(state, firstRow: first)
        default:
            guard let format = BlockFormat(rawValue: view.type.rawValue) else {
                throw LorikeetError.input(
                    "\(view.name) is stored as \(view.type.rawValue), which no weight of a model can be", at: view.file.path,
                    fix: "take a model in float32, float16, bfloat16 or a GGUF of q4_0 to q8_0 or q2_K to q6_K")
            }
            form = .blocks(format)
        }
    }
}

/// The matrix as the file has it, in Hugging Face's row order.
private func storedForm(_ view: TensorView) throws -> any WeightStore {
    let matrix = try StoredMatrix(view)
    let (rows, columns) = (matrix.rows, matrix.columns)
    let alignment =
        switch matrix.form {
        case .float(.f32): 4
        case .float: 2
        case .blocks, .nf4, .float8: 1
        }
    return try storedForm(matrix.form, rows: rows, columns: columns, bytes: try rowsInOrder(view, rows: rows, alignment: alignment), name: view.name)
}

/// A matrix on bytes in a file's form, aligned to its elements.
func storedForm(_ form: StoredMatrix.Form, rows: Int, columns: Int, bytes: StoredBytes, name: String) throws -> any WeightStore {
    switch form {
    case .float(.f32): FloatStore(rows: rows, columns: columns, bytes: bytes)
    case .float(.f16): HalfStore(rows: rows, columns: columns, form: .f16, bytes: bytes)
    case .float(.bf16): HalfStore(rows: rows, columns: columns, form: .bf16, bytes: bytes)
    case .blocks(let format): try BlockStore(rows: rows, columns: columns, format: format, bytes: bytes, name: name)
    case .nf4(let state, let first): try bitsAndBytesStore(rows: rows, columns: columns, state: state, firstRow: first, bytes: bytes)
    case .float8(let type, let scales, let first):
        Float8Store(rows: rows, columns: columns, type: type, scales: scales, firstRow: first, bytes: bytes)
    }
}

/// The view's bytes: in place where order and alignment allow, else a copy.
private func rowsInOrder(_ view: TensorView, rows: Int, alignment: Int) throws -> StoredBytes {
    guard let base = view.bytes.baseAddress else {
        throw LorikeetError.input("\(view.name) has no bytes", at: view.file.path, fix: "download the model again")
    }
    guard let permutation = view.rowPermutation else {
        if UInt(bitPattern: base) % UInt(alignment) == 0 {
            return StoredBytes(owner: view.file, base: base, count: view.byteCount)
        }
        defer { view.giveBack(0..<view.byteCount) }
        return try StoredBytes(count: view.byteCount) { $0.copyMemory(from: base, byteCount: view.byteCount) }
    }
    defer { view.giveBack(0..<view.byteCount) }
    let rowBytes = view.byteCount / rows
    return try StoredBytes(count: view.byteCount) { memory in
        for row in 0..<rows {
            let source = permutation.sourceRow(of: row, rows: rows)
            (memory + row * rowBytes).copyMemory(from: base + source * rowBytes, byteCount: rowBytes)
        }
    }
}
