import LorikeetGround

/// How a tensor's elements are stored. GGUF's quantised types come in blocks along the last dimension; those of safetensors directories have
/// their scales in other tensors (`TensorView.scaling`).
package enum ElementType: String, Sendable, CaseIterable {
    case f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, bool
    /// 8-bit floats: 4 bits of exponent and 3 of mantissa without infinities, or 5 and 2 with them.
    case f8_e4m3, f8_e5m2
    /// bitsandbytes' 4-bit NormalFloat, two codes a byte: in blocks of 64 with doubly quantised maxima, or otherwise.
    case nf4, nf4_other
    case q4_0, q4_1, q5_0, q5_1, q8_0
    case q2_K, q3_K, q4_K, q5_K, q6_K

    /// Elements of a block; 1 for plain types.
    package var blockElements: Int {
        switch self {
        case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: 32
        case .q2_K, .q3_K, .q4_K, .q5_K, .q6_K: 256
        case .nf4, .nf4_other: 2
        default: 1
        }
    }

    /// Bytes of a block (of an element, for plain types).
    package var blockBytes: Int {
        switch self {
        case .f64, .i64, .u64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .i8, .u8, .bool, .f8_e4m3, .f8_e5m2, .nf4, .nf4_other: 1
        case .q4_0: 18
        case .q4_1: 20
        case .q5_0: 22
        case .q5_1: 24
        case .q8_0: 34
        case .q2_K: 84
        case .q3_K: 110
        case .q4_K: 144
        case .q5_K: 176
        case .q6_K: 210
        }
    }

    /// Bytes of a tensor of `shape`, or nil when that overflows or a row is no whole number of blocks.
    package func byteCount(shape: [Int]) -> Int? {
        var elements = 1
        for dimension in shape {
            let (product, overflow) = elements.multipliedReportingOverflow(by: dimension)
            guard dimension >= 0, !overflow else { return nil }
            elements = product
        }
        guard (shape.last ?? 1) % blockElements == 0 else { return nil }
        let (bytes, overflow) = (elements / blockElements).multipliedReportingOverflow(by: blockBytes)
        return overflow ? nil : bytes
    }
}

/// How a file orders the rows of a matrix: llama.cpp interleaves the two halves of each head of q and k for its own
/// rotary form; Hugging Face's order has the halves one behind the other.
package struct RowPermutation: Sendable, Equatable {
    package let heads: Int

    /// - Parameter heads: from 1 on; a matrix's rows have to be a multiple of twice that.
    package init(heads: Int) { self.heads = heads }

    /// The file's row that holds row `row` of the Hugging Face order, for a matrix of `rows` rows.
    package func sourceRow(of row: Int, rows: Int) -> Int {
        let size = rows / heads
        let (head, inside) = (row / size, row % size)
        let (half, pair) = (inside / (size / 2), inside % (size / 2))
        return head * size + 2 * pair + half
    }

    /// The inverse: the row of the Hugging Face order that row `source` of the file holds.
    package func row(ofSource source: Int, rows: Int) -> Int {
        let size = rows / heads
        let (head, inside) = (source / size, source % size)
        return head * size + inside % 2 * (size / 2) + inside / 2
    }
}

/// A tensor inside a mapped file. The initialiser's caller has checked that its bytes lie in the file.
package struct TensorView: Sendable {
    package let name: String
    /// Row-major, last index fastest.
    package let shape: [Int]
    package let type: ElementType
    package let file: MappedFile
    /// First byte in the file.
    package let offset: Int
    package let byteCount: Int
    /// Set where the file's rows stand in another order than Hugging Face's.
    package let rowPermutation: RowPermutation?
    /// The constant that the file adds to every value, to be subtracted after reading: 1 where a norm's weight w is stored as 1 + w.
    package let storedOffset: Float
    /// What the elements are multiplied by, where that stands in other tensors.
    package let scaling: TensorScaling?

    package init(
        name: String, shape: [Int], type: ElementType, file: MappedFile, offset: Int, byteCount: Int, rowPermutation: RowPermutation? = nil,
        storedOffset: Float = 0, scaling: TensorScaling? = nil
    ) {
        self.name = name
        self.shape = shape
        self.type = type
        self.file = file
        self.offset = offset
        self.byteCount = byteCount
        self.rowPermutation = rowPermutation
        self.storedOffset = storedOffset
        self.scaling = scaling
    }

    /// The tensor's bytes as the file has them: neither row order nor stored offset nor scales are applied.
    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file.bytes[offset..<offset + byteCount]) }
    package var elementCount: Int { shape.reduce(1, *) }
    /// Whether its bytes are at hand: not where only the header of its file is.
    package var isAtHand: Bool { file.holds(offset..<offset + byteCount) }

    /// Gives the memory of the mapped pages of bytes `range` of the tensor back; see `MappedFile.giveBack`.
    package func giveBack(_ range: Range<Int>) { file.giveBack(offset + range.lowerBound..<offset + range.upperBound) }

    /// Asks for the bytes of the file that will be read next but a few, when it is read from its beginning to its end and bytes `range` of the tensor come now;
    /// see `MappedFile.prefetch`.
    package func prefetch(after range: Range<Int>) {
        let ahead = offset + Self.readAhead
        file.prefetch(ahead + range.lowerBound..<ahead + range.upperBound)
    }

    /// Bytes: as much as a slow disk reads while it also writes a few dozen MiB.
    private static let readAhead = 32 << 20

    /// Reads bytes `range` of the tensor, its rows in Hugging Face's order; see `MappedFile.read`.
    ///
    /// Where there is a row permutation, its heads have to divide the rows evenly.
    package func read(_ range: Range<Int>, into memory: UnsafeMutableRawBufferPointer) throws {
        guard let rowPermutation, let rows = shape.first, rows > 0 else {
            return try file.read(at: offset + range.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<range.count]))
        }
        let rowBytes = byteCount / rows
        var done = 0
        while done < range.count {
            let (row, inside) = (range.lowerBound + done).quotientAndRemainder(dividingBy: rowBytes)
            let count = min(rowBytes - inside, range.count - done)
            let source = rowPermutation.sourceRow(of: row, rows: rows) * rowBytes + inside
            try file.read(at: offset + source, into: UnsafeMutableRawBufferPointer(rebasing: memory[done..<done + count]))
            done += count
        }
    }

    /// Rows `rows` of the file's tensor under another name; row order and offset are `rowPermutation` and `storedOffset`.
    ///
    /// - Parameter rows: inside the first dimension, whose rows have to be a whole number of bytes each.
    package func part(
        _ name: String, rows: Range<Int>, rowPermutation: RowPermutation? = nil, storedOffset: Float = 0
    ) -> TensorView {
        let rowBytes = shape.first.map { $0 > 0 ? byteCount / $0 : 0 } ?? 0
        return TensorView(
            name: name, shape: [rows.count] + shape.dropFirst(), type: type, file: file, offset: offset + rows.lowerBound * rowBytes,
            byteCount: rows.count * rowBytes, rowPermutation: rowPermutation, storedOffset: storedOffset,
            scaling: scaling.map { $0.part(from: rows.lowerBound) })
    }

    /// The same bytes as a matrix: a vector is one row, or one column where its elements stand in another order.
    package var asMatrix: TensorView {
        guard shape.count != 2 else { return self }
        let (rows, columns) = shape.count > 2 ? (shape[0], shape.dropFirst().reduce(1, *)) : rowPermutation == nil ? (1, elementCount) : (elementCount, 1)
        return TensorView(
            name: name, shape: [rows, columns], type: type, file: file, offset: offset, byteCount: byteCount, rowPermutation: rowPermutation,
            storedOffset: storedOffset, scaling: scaling)
    }

    /// The index of the first element that is NaN or infinite; nil where all are finite, or where the type is not a plain float.
    ///
    /// Looks at bits alone: every exponent bit of such an element is set.
    package func firstNonFinite() -> Int? {
        switch type {
        case .f32: firstIndex(of: UInt32.self) { $0 & 0x7F80_0000 == 0x7F80_0000 }
        case .f64: firstIndex(of: UInt64.self) { $0 & 0x7FF0_0000_0000_0000 == 0x7FF0_0000_0000_0000 }
        case .f16: firstIndex(of: UInt16.self) { $0 & 0x7C00 == 0x7C00 }
        case .bf16: firstIndex(of: UInt16.self) { $0 & 0x7F80 == 0x7F80 }
        default: nil
        }
    }

    private func firstIndex<Bits: FixedWidthInteger>(of: Bits.Type, where found: (Bits) -> Bool) -> Int? {
        let (bytes, size) = (bytes, MemoryLayout<Bits>.size)
        return (0..<bytes.count / size).first { found(Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * size, as: Bits.self))) }
    }
}
