import CVector
import LorikeetGround

/// GGUF's block formats: which one a matrix is held in.
package enum BlockFormat: String, Sendable, CaseIterable {
    case q4_0, q4_1, q5_0, q5_1, q8_0, q2_K, q3_K, q4_K, q5_K, q6_K

    /// The format's arithmetic.
    var codec: any BlockCodec.Type {
        switch self {
        case .q4_0: Q4_0.self
        case .q4_1: Q4_1.self
        case .q5_0: Q5_0.self
        case .q5_1: Q5_1.self
        case .q8_0: Q8_0.self
        case .q2_K: Q2_K.self
        case .q3_K: Q3_K.self
        case .q4_K: Q4_K.self
        case .q5_K: Q5_K.self
        case .q6_K: Q6_K.self
        }
    }

    /// Weights in a block.
    package var blockElements: Int { codec.elements }
    /// Bytes of a block.
    package var blockBytes: Int { codec.bytes }
}

/// How one block of a GGUF format becomes float32: exactly ggml's dequantisation, no product fused with a sum.
protocol BlockCodec {
    static var elements: Int { get }
    static var bytes: Int { get }
    /// Writes the block's `elements` values.
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>)
}

/// A matrix held in the blocks of a GGUF file, rows in Hugging Face's order.
package struct BlockStore: WeightStore {
    package let rows: Int
    package let columns: Int
    package let format: BlockFormat
    let bytes: StoredBytes
    private let rowBytes: Int

    /// - Parameters:
    ///   - bytes: the rows' blocks one behind the other.
    ///   - name: what an error calls the matrix.
    /// - Throws: where a row is not a whole number of blocks or there are too few bytes.
    package init(rows: Int, columns: Int, format: BlockFormat, bytes: StoredBytes, name: String) throws {
        let rowBytes = try Self.rowBytes(columns: columns, format: format, name: name)
        let (needed, overflow) = rowBytes.multipliedReportingOverflow(by: rows)
        guard !overflow, rows >= 0, bytes.count >= needed else {
            throw LorikeetError.input(
                "\(name) has \(bytes.count) bytes, too few for \(rows) x \(columns) in \(format.rawValue)",
                fix: "download the model again")
        }
        self.rows = rows
        self.columns = columns
        self.format = format
        self.bytes = bytes
        self.rowBytes = rowBytes
    }

    /// Bytes of one row; an error where it is not a whole number of blocks.
    static func rowBytes(columns: Int, format: BlockFormat, name: String) throws -> Int {
        guard columns >= 0, columns % format.blockElements == 0 else {
            throw LorikeetError.input(
                "\(name) has rows of \(columns) weights, not a multiple of \(format.rawValue)'s \(format.blockElements)",
                fix: "download the model again")
        }
        return columns / format.blockElements * format.blockBytes
    }

    package var storedBytes: Int { rows * rowBytes }
    package var formatName: String { format.rawValue }

    package func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(
            blocks: rows.count * (columns / format.blockElements), fromByte: rows.lowerBound * rowBytes,
            into: destination)
    }

    package func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(
            blocks: range.count / format.blockElements,
            fromByte: row * rowBytes + range.lowerBound / format.blockElements * format.blockBytes,
            into: destination)
    }

    package func multiply(rows range: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int) {
        guard count == 1, format.blockElements == 32 else { return multiplyByTiles(rows: range, x: x, count: count, into: y, ldy: ldy) }
        multiplyByEights(range, into: y) {
            eightDots(from: $0, x)
        } rest: {
            multiplyByTiles(rows: $0, x: x, count: 1, into: $1, ldy: ldy)
        }
    }

    /// The products of eight rows with x, in a format of blocks of 32.
    @inline(__always)
    private func eightDots(from row: Int, _ x: UnsafePointer<Float>) -> SIMD8<Float> {
        let start = bytes.pointer(as: UInt8.self, at: row * rowBytes)
        switch format {
        case .q4_0: return lorikeet_dots_q4_0(start, columns, x)
        case .q4_1: return lorikeet_dots_q4_1(start, columns, x)
        case .q5_0: return lorikeet_dots_q5_0(start, columns, x)
        case .q5_1: return lorikeet_dots_q5_1(start, columns, x)
        default: return lorikeet_dots_q8_0(start, columns, x)
        }
    }

    /// Names each codec, so that the loop over blocks is compiled for each.
    private func expand(blocks: Int, fromByte start: Int, into destination: UnsafeMutablePointer<Float>) {
        let source = UnsafeRawPointer(bytes.pointer(as: UInt8.self, at: start))
        switch format {
        case .q4_0: expandBlocks(Q4_0.self, blocks, from: source, into: destination)
        case .q4_1: expandBlocks(Q4_1.self, blocks, from: source, into: destination)
        case .q5_0: expandBlocks(Q5_0.self, blocks, from: source, into: destination)
        case .q5_1: expandBlocks(Q5_1.self, blocks, from: source, into: destination)
        case .q8_0: expandBlocks(Q8_0.self, blocks, from: source, into: destination)
        case .q2_K: expandBlocks(Q2_K.self, blocks, from: source, into: destination)
        case .q3_K: expandBlocks(Q3_K.self, blocks, from: source, into: destination)
        case .q4_K: expandBlocks(Q4_K.self, blocks, from: source, into: destination)
        case .q5_K: expandBlocks(Q5_K.self, blocks, from: source, into: destination)
        case .q6_K: expandBlocks(Q6_K.self, blocks, from: source, into: destination)
        }
    }
}

@inline(__always)
private func expandBlocks<Codec: BlockCodec>(
    _: Codec.Type, _ count: Int, from source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>
) {
    var block = source
    var out = destination
    for _ in 0..<count {
        Codec.expand(block, into: out)
        block += Codec.bytes
        out += Codec.elements
    }
}
