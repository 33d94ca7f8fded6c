import LorikeetDevices
import LorikeetGround

extension NF4Store {
    /// Rounds a matrix to NF4 with doubly quantised block maxima; no float copy of the whole matrix is made.
    ///
    /// Codes and float32 block maxima are bitsandbytes' bit for bit, and so are, with its `offset`, the codes and
    /// maxima of the second quantisation. Its own offset depends on its threads; here it is the float32 of the float64
    /// mean of the block maxima, in order.
    ///
    /// - Parameters:
    ///   - source: the matrix in any form.
    ///   - name: what an error calls it.
    ///   - offset: taken instead of the mean where given.
    ///   - maxima: sees the float32 block maxima before the second quantisation.
    /// - Throws: where a weight is not finite; `Interrupted`.
    package static func quantise(
        _ source: any WeightStore, name: String, offset: Float? = nil, cpu: CPU?,
        maxima inspect: ([Float]) -> Void = { _ in }
    ) throws -> NF4Store {
        let columns = source.columns
        let layout = NF4.Layout(count: source.rows * columns)
        var maxima = [Float](repeating: 0, count: layout.blocks)
        var mean: Float = 0
        let bytes = try StoredBytes(count: layout.bytes - 4) { memory in
            let codes = memory.assumingMemoryBound(to: UInt8.self)
            try maxima.withUnsafeMutableBufferPointer { buffer in
                guard let maxima = buffer.baseAddress else { return }
                try forEachUnit(of: source, multiple: rowsPerWholeBlocks(columns: columns), cpu: cpu) { rows, values in
                    let first = rows.lowerBound * columns
                    quantiseBlocks(
                        values, count: rows.count * columns, codes: codes + first / 2,
                        maxima: maxima + first / NF4.blockLength)
                }
            }
            let own = try Self.offset(of: maxima, name: name)
            mean = offset ?? own
            quantiseMaxima(
                maxima, offset: mean, codes: codes + layout.codeBytes,
                nestedMaxima: memory + layout.codeBytes + layout.blocks)
        }
        inspect(maxima)
        return NF4Store(rows: source.rows, columns: columns, offset: mean, bytes: bytes)
    }

    /// What is taken from the block maxima before the second quantisation: the float32 of their float64 mean, summed in order.
    ///
    /// - Throws: where a weight, and so a maximum, is not finite.
    static func offset(of maxima: [Float], name: String) throws -> Float {
        guard maxima.allSatisfy(\.isFinite) else {
            throw LorikeetError.input(
                "\(name) holds a weight that is not a finite number", fix: "download the model again")
        }
        return Float(maxima.reduce(0.0) { $0 + Double($1) } / Double(max(maxima.count, 1)))
    }

    /// The least number of rows whose weights fill whole blocks.
    private static func rowsPerWholeBlocks(columns: Int) -> Int {
        var rows = NF4.blockLength
        while rows > 1, (rows / 2 * columns) % NF4.blockLength == 0 { rows /= 2 }
        return rows
    }

    /// Codes and maxima of `count` weights from a block's start on; only the matrix's last block may be short.
    private static func quantiseBlocks(
        _ values: UnsafePointer<Float>, count: Int, codes: UnsafeMutablePointer<UInt8>,
        maxima: UnsafeMutablePointer<Float>
    ) {
        let whole = count / NF4.blockLength
        NF4.orderedMidpoints.withUnsafeBufferPointer { table in
            guard let midpoints = table.baseAddress else { return }
            for block in 0..<whole {
                let p = values + block * NF4.blockLength
                let maximum = largestMagnitude(p)
                maxima[block] = maximum
                quantiseBlock(p, 1 / max(maximum, smallestMaximum), midpoints, codes + block * NF4.blockLength / 2)
            }
        }
        let rest = count - whole * NF4.blockLength
        if rest > 0 {
            let start = whole * NF4.blockLength
            maxima[whole] = quantiseShortBlock(values + start, rest, codes + start / 2)
        }
    }

    /// Keeps the reciprocal finite, as bitsandbytes does; a block of zeros gets the code of zero.
    private static var smallestMaximum: Float { 1e-38 }

    /// max |value| of 64; by bits, so that a NaN counts as the largest.
    @inline(__always)
    private static func largestMagnitude(_ values: UnsafePointer<Float>) -> Float {
        var largest = SIMD8<UInt32>.zero
        for i in 0..<8 {
            let bits = unsafeBitCast(load8(values + 8 * i), to: SIMD8<UInt32>.self) & 0x7fff_ffff
            largest.replace(with: bits, where: bits .> largest)
        }
        return Float(bitPattern: largest.max())
    }

    /// 64 codes by counting midpoints below each value: fifteen vector steps, no search.
    @inline(__always)
    private static func quantiseBlock(
        _ values: UnsafePointer<Float>, _ reciprocal: Float, _ midpoints: UnsafePointer<Int32>,
        _ codes: UnsafeMutablePointer<UInt8>
    ) {
        for i in 0..<8 {
            let lanes = codesOf(load8(values + 8 * i) * reciprocal, midpoints)
            // Two codes to a lane of 64 bits, the first in the lower half; their byte has it in the high half.
            let pairs = unsafeBitCast(lanes, to: SIMD4<UInt64>.self)
            let bytes = (pairs &<< 4) | (pairs &>> 32)
            let packed = SIMD4(
                UInt8(truncatingIfNeeded: bytes[0]), UInt8(truncatingIfNeeded: bytes[1]),
                UInt8(truncatingIfNeeded: bytes[2]), UInt8(truncatingIfNeeded: bytes[3]))
            UnsafeMutableRawPointer(codes + 4 * i).storeBytes(of: packed, as: SIMD4<UInt8>.self)
        }
    }

    /// Midpoints below each value. The comparison is the sign of a difference, which cannot overflow for values and
    /// midpoints within ±1; Swift's comparison of vectors would be a loop over lanes here.
    @inline(__always)
    private static func codesOf(_ scaled: SIMD8<Float>, _ midpoints: UnsafePointer<Int32>) -> SIMD8<Int32> {
        let bits = unsafeBitCast(scaled, to: SIMD8<Int32>.self)
        let ordered = bits ^ ((bits &>> 31) & 0x7fff_ffff)
        var codes = SIMD8<Int32>.zero
        for i in 0..<15 { codes &-= (SIMD8(repeating: midpoints[i]) &- ordered) &>> 31 }
        return codes
    }

    /// The last block: bitsandbytes divides here where it multiplies by the reciprocal elsewhere, bounds the stored
    /// maximum from below, and fills an odd end with the code of zero.
    private static func quantiseShortBlock(
        _ values: UnsafePointer<Float>, _ count: Int, _ codes: UnsafeMutablePointer<UInt8>
    ) -> Float {
        var bits: UInt32 = 0
        for i in 0..<count { bits = max(bits, values[i].bitPattern & 0x7fff_ffff) }
        guard Float(bitPattern: bits).isFinite else { return Float(bitPattern: bits) }
        let maximum = max(Float(bitPattern: bits), smallestMaximum)
        func code(_ i: Int) -> UInt8 {
            guard i < count else { return 7 }
            let value = NF4.ordered((values[i] / maximum).bitPattern)
            return UInt8(NF4.orderedMidpoints.count(where: { value > $0 }))
        }
        for i in 0..<(count + 1) / 2 { codes[i] = code(2 * i) << 4 | code(2 * i + 1) }
        return maximum
    }

    /// The second quantisation: block maxima less the offset, in blocks of 256, to the signed dynamic 8-bit type.
    private static func quantiseMaxima(
        _ maxima: [Float], offset: Float, codes: UnsafeMutablePointer<UInt8>, nestedMaxima: UnsafeMutableRawPointer
    ) {
        var start = 0
        while start < maxima.count {
            let end = min(start + NF4.nestedBlockLength, maxima.count)
            var largest: Float = 0
            for i in start..<end { largest = max(largest, abs(maxima[i] - offset)) }
            nestedMaxima.storeBytes(
                of: largest, toByteOffset: 4 * (start / NF4.nestedBlockLength), as: Float.self)
            let reciprocal = 1 / largest
            for i in start..<end {
                guard largest > 0 else {
                    codes[i] = 0
                    continue
                }
                // A reciprocal of a subnormal is infinite: 0 · ∞ is NaN, which is replaced by zero here.
                let scaled = (maxima[i] - offset) * reciprocal
                let value = scaled.isNaN ? 0 : min(max(scaled, -1), 1)
                codes[i] = NF4.nestedGrid[Int((value + 1) * 0.5 * 65535 + 0.5)]
            }
            start = end
        }
    }
}
