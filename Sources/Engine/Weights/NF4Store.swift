import CVector
import LorikeetGround

/// A matrix held as 4-bit NormalFloat codes with doubly quantised block maxima: 4.127 bits a weight.
///
///     weight[i] = NF4.values[code[i]] · scale[i / 64]
///     scale[b]  = NF4.nestedValues[maximum[b]] · nestedMaximum[b / 256] + offset
///
/// in float32, product and sum rounded each on its own, as bitsandbytes does it. i runs over the flattened matrix.
///
///     bytes: | codes, two a byte, first in the high half | codes of maxima, one a byte | nested maxima, float32 |
package struct NF4Store: WeightStore {
    package let rows: Int
    package let columns: Int
    /// Added to every expanded block maximum: the mean of the block maxima before the second quantisation.
    package let offset: Float
    let layout: NF4.Layout
    let bytes: StoredBytes
    /// The type that an expanded weight is rounded to, where bitsandbytes' `quant_state` names one of 16 bits.
    let rounding: HalfStore.Form?

    /// - Parameter bytes: the three parts in the order above, `NF4.Layout(count: rows * columns).bytes - 4` bytes.
    init(rows: Int, columns: Int, offset: Float, bytes: StoredBytes, rounding: HalfStore.Form? = nil) {
        self.rounding = rounding
        self.rows = rows
        self.columns = columns
        self.offset = offset
        self.layout = NF4.Layout(count: rows * columns)
        self.bytes = bytes
    }

    /// A store from parts that exist already (bitsandbytes' own, for instance), copied.
    ///
    /// - Throws: exit 2 where a part's length is not the one that the shape asks for.
    package init(
        rows: Int, columns: Int, codes: [UInt8], maxima: [UInt8], nestedMaxima: [Float], offset: Float,
        rounding: HalfStore.Form? = nil
    ) throws {
        let layout = NF4.Layout(count: rows * columns)
        guard codes.count == layout.codeBytes, maxima.count == layout.blocks,
            nestedMaxima.count == layout.nestedBlocks
        else {
            throw LorikeetError.input("the parts of an NF4 matrix do not have the lengths of \(rows) x \(columns)", fix: "download the model again")
        }
        let bytes = try StoredBytes(count: layout.bytes - 4) { memory in
            codes.withUnsafeBytes { if let p = $0.baseAddress { memory.copyMemory(from: p, byteCount: $0.count) } }
            maxima.withUnsafeBytes {
                if let p = $0.baseAddress { (memory + layout.codeBytes).copyMemory(from: p, byteCount: $0.count) }
            }
            nestedMaxima.withUnsafeBytes {
                guard let p = $0.baseAddress else { return }
                (memory + layout.codeBytes + layout.blocks).copyMemory(from: p, byteCount: $0.count)
            }
        }
        self.init(rows: rows, columns: columns, offset: offset, bytes: bytes, rounding: rounding)
    }

    package var storedBytes: Int { layout.bytes }
    package var formatName: String { "nf4" }

    /// The codes, two a byte.
    package var codes: [UInt8] {
        Array(UnsafeBufferPointer(start: bytes.pointer(as: UInt8.self), count: layout.codeBytes))
    }
    /// The 8-bit codes of the block maxima.
    package var maxima: [UInt8] {
        Array(UnsafeBufferPointer(start: bytes.pointer(as: UInt8.self, at: layout.codeBytes), count: layout.blocks))
    }
    /// The float32 maxima of the second quantisation.
    package var nestedMaxima: [Float] { (0..<layout.nestedBlocks).map { nestedMaximum($0) } }

    package func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(weights: rows.lowerBound * columns..<rows.upperBound * columns, into: destination)
        rounding?.round(destination, count: rows.count * columns)
    }

    package func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        let start = row * columns
        expand(weights: start + range.lowerBound..<start + range.upperBound, into: destination)
        rounding?.round(destination, count: range.count)
    }

    @inline(__always)
    private func nestedMaximum(_ index: Int) -> Float {
        // Behind an odd number of bytes, hence perhaps unaligned.
        UnsafeRawPointer(bytes.pointer(as: UInt8.self, at: layout.codeBytes + layout.blocks))
            .loadUnaligned(fromByteOffset: 4 * index, as: Float.self)
    }

    @inline(__always)
    private func scale(ofBlock block: Int, _ nestedValues: UnsafePointer<Float>) -> Float {
        let code = bytes.pointer(as: UInt8.self, at: layout.codeBytes)[block]
        return nestedValues[Int(code)] * nestedMaximum(block / NF4.nestedBlockLength) + offset
    }

    /// Expands a range of the flattened matrix: whole blocks by vectors, pieces of blocks at both ends one by one.
    private func expand(weights range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        let codes = bytes.pointer(as: UInt8.self)
        NF4.nestedValues.withUnsafeBufferPointer { nested in
            NF4.values.withUnsafeBufferPointer { values in
                guard let nestedValues = nested.baseAddress, let codebook = values.baseAddress else { return }
                let low = load8(codebook)
                let high = load8(codebook + 8)
                var at = range.lowerBound
                var out = destination
                while at < range.upperBound {
                    let block = at / NF4.blockLength
                    let blockEnd = (block + 1) * NF4.blockLength
                    let scale = scale(ofBlock: block, nestedValues)
                    if at + NF4.blockLength == blockEnd, blockEnd <= range.upperBound {
                        Self.expandBlock(codes + at / 2, scale, low, high, out)
                        at = blockEnd
                        out += NF4.blockLength
                    } else {
                        for i in at..<min(blockEnd, range.upperBound) {
                            out[0] = codebook[Int(i & 1 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15)] * scale
                            out += 1
                        }
                        at = min(blockEnd, range.upperBound)
                    }
                }
            }
        }
    }

    /// 64 weights from 32 bytes.
    @inline(__always)
    private static func expandBlock(
        _ codes: UnsafePointer<UInt8>, _ scale: Float, _ low: SIMD8<Float>, _ high: SIMD8<Float>, _ out: UnsafeMutablePointer<Float>
    ) {
        for i in 0..<8 { store8(lorikeet_nf4_8(codes + 4 * i, low, high, scale), out + 8 * i) }
    }
}
