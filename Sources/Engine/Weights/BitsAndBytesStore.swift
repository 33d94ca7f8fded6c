import LorikeetGround
import LorikeetModelFiles

/// A matrix of bitsandbytes' NF4 in a form other than that of `NF4Store`: other lengths of blocks, or maxima that are not quantised:
///
///     weight[i] = map[code[i]] · scale[i / blockLength]
///
/// in float32, then rounded to `quant_state`'s type, as bitsandbytes' `dequantize_4bit` does it. i runs over the flattened matrix.
struct BitsAndBytesStore: WeightStore {
    let rows: Int
    let columns: Int
    private let map: [Float]
    private let blockLength: Int
    /// One a block.
    private let scales: [Float]
    /// Two codes a byte, first in the high half.
    private let codes: StoredBytes
    private let rounding: HalfStore.Form?

    init(rows: Int, columns: Int, map: [Float], blockLength: Int, scales: [Float], codes: StoredBytes, rounding: HalfStore.Form?) {
        (self.rows, self.columns, self.map, self.blockLength) = (rows, columns, map, blockLength)
        (self.scales, self.codes, self.rounding) = (scales, codes, rounding)
    }

    var storedBytes: Int { rows * columns / 2 }
    var formatName: String { "nf4_other" }

    func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(from: rows.lowerBound * columns, count: rows.count * columns, into: destination)
    }

    func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(from: row * columns + range.lowerBound, count: range.count, into: destination)
    }

    private func expand(from start: Int, count: Int, into destination: UnsafeMutablePointer<Float>) {
        let bytes = codes.pointer(as: UInt8.self)
        map.withUnsafeBufferPointer { map in
            for i in 0..<count {
                let at = start + i
                let byte = bytes[at / 2]
                destination[i] = map[Int(at & 1 == 0 ? byte >> 4 : byte & 15)] * scales[at / blockLength]
            }
        }
        rounding?.round(destination, count: count)
    }
}

extension NF4State {
    /// Whether the matrix is in the form of `NF4Store`: blocks of 64, maxima quantised in blocks of 256, and the usual values.
    var isOwnForm: Bool {
        blockLength == NF4.blockLength && nested?.blockLength == NF4.nestedBlockLength && map == NF4.values && nested?.map == NF4.nestedValues
    }

    /// The 16-bit type that values are rounded to; nil for float32.
    var roundingForm: HalfStore.Form? {
        switch rounding {
        case .f16: .f16
        case .bf16: .bf16
        default: nil
        }
    }

    /// The block maxima as float32.
    fileprivate func scales() -> [Float] {
        guard let nested else { return absmax.floatValues() ?? [] }
        let maxima = nested.absmax.floatValues() ?? []
        return absmax.bytes.enumerated().map { block, code in nested.map[Int(code)] * maxima[block / nested.blockLength] + nested.offset }
    }
}

/// A matrix on bitsandbytes' codes: an `NF4Store` with the file's own codes where the form is the same, bit for bit.
///
/// - Parameter firstRow: the matrix's first row in the tensor that `state` describes; begins a block.
func bitsAndBytesStore(rows: Int, columns: Int, state: NF4State, firstRow: Int, bytes: StoredBytes) throws -> any WeightStore {
    let form = state.roundingForm
    if state.isOwnForm, firstRow == 0, let nested = state.nested, state.absmax.elementCount == NF4.Layout(count: rows * columns).blocks {
        let codes = Array(UnsafeBufferPointer(start: bytes.pointer(as: UInt8.self), count: rows * columns / 2))
        return try NF4Store(
            rows: rows, columns: columns, codes: codes, maxima: Array(state.absmax.bytes), nestedMaxima: nested.absmax.floatValues() ?? [],
            offset: nested.offset, rounding: form)
    }
    let scales = Array(state.scales().dropFirst(firstRow * columns / state.blockLength))
    guard scales.count >= (rows * columns + state.blockLength - 1) / state.blockLength else {
        throw LorikeetError.input("\(state.absmax.name) has too few values", at: state.absmax.file.path, fix: "fetch the model again")
    }
    return BitsAndBytesStore(
        rows: rows, columns: columns, map: state.map, blockLength: state.blockLength, scales: scales, codes: bytes, rounding: form)
}
