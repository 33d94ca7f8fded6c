import LorikeetModelFiles

/// The two 8-bit float types (Micikevicius et al. 2022, arXiv:2209.05433).
enum Float8: String, Sendable {
    /// 4 bits of exponent (bias 7), 3 of mantissa; no infinities, 0x7F and 0xFF are NaN; at most 448.
    case e4m3
    /// 5 bits of exponent (bias 15), 2 of mantissa: float16 without its lower byte.
    case e5m2

    /// The value of every code.
    var values: [Float] {
        switch self {
        case .e5m2: return (0..<256).map { Float(Float16(bitPattern: UInt16($0) << 8)) }
        case .e4m3:
            return (0..<256).map { code in
                let (exponent, mantissa) = (code >> 3 & 15, code & 7)
                let sign: Float = code & 0x80 == 0 ? 1 : -1
                if exponent == 15 && mantissa == 7 { return .nan }
                if exponent == 0 { return sign * Float(mantissa) / 512 }
                return sign * Float(sign: .plus, exponent: exponent - 7, significand: 1 + Float(mantissa) / 8)
            }
        }
    }
}

/// A matrix of 8-bit floats with a scale for each block of rows and columns:
///
///     weight[r, c] = value(code[r, c]) · scale[r / blockRows, c / blockColumns]
///
/// in float32, one rounding a weight.
struct Float8Store: WeightStore {
    let rows: Int
    let columns: Int
    private let type: Float8
    private let values: [Float]
    /// [blocks down, across], or empty without scales.
    private let scales: [Float]
    private let blocks: ScaleBlocks?
    /// The matrix's first row in the tensor that `blocks` describe.
    private let firstRow: Int
    private let codes: StoredBytes

    init(rows: Int, columns: Int, type: Float8, scales: ScaleBlocks?, firstRow: Int, bytes: StoredBytes) {
        (self.rows, self.columns, self.type, self.firstRow) = (rows, columns, type, firstRow)
        values = type.values
        self.scales = scales?.scales.floatValues() ?? []
        blocks = scales
        codes = bytes
    }

    var storedBytes: Int { rows * columns }
    var formatName: String { "f8_" + type.rawValue }

    func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        for row in rows { expand(row: row, columns: 0..<columns, into: destination + (row - rows.lowerBound) * columns) }
    }

    func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        let bytes = codes.pointer(as: UInt8.self, at: row * columns)
        values.withUnsafeBufferPointer { values in
            guard let blocks else {
                for column in range { destination[column - range.lowerBound] = values[Int(bytes[column])] }
                return
            }
            let first = (firstRow + row) / blocks.rows * blocks.across
            var column = range.lowerBound
            while column < range.upperBound {
                let block = column / blocks.columns
                let (end, scale) = (min(range.upperBound, (block + 1) * blocks.columns), scales[first + block])
                while column < end {
                    destination[column - range.lowerBound] = values[Int(bytes[column])] * scale
                    column += 1
                }
            }
        }
    }
}
