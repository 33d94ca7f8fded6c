// GGUF's K-quants: blocks of 256 in groups of 16 or 32, each group with a small integer scale of its own.

/// 84 bytes: 16 scales (low half scale, high half minimum) | 64 bytes of codes | d, dmin float16.
/// weight = (d · scale) · code - (dmin · minimum), groups of 16, code of two bits
enum Q2_K: BlockCodec {
    static let elements = 256
    static let bytes = 84

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block + 80)
        let dmin = half(block + 82)
        for part in 0..<2 {
            let low = load16(block + 16 + 32 * part)
            let high = load16(block + 32 + 32 * part)
            for j in 0..<4 {
                let group = 8 * part + 2 * j
                let shift = SIMD16<UInt8>(repeating: UInt8(truncatingIfNeeded: 2 * j))
                for side in 0..<2 {
                    let scale = block.load(fromByteOffset: group + side, as: UInt8.self)
                    store(
                        ((side == 0 ? low : high) &>> shift) & 3, d * Float(scale & 15),
                        minus: dmin * Float(scale >> 4), out + 16 * (group + side))
                }
            }
        }
    }
}

/// 110 bytes: 32 bytes of third bits | 64 bytes of codes | 16 scales of six bits in 12 bytes | d float16.
/// weight = (d · (scale - 32)) · (code - 4), groups of 16, code of three bits
enum Q3_K: BlockCodec {
    static let elements = 256
    static let bytes = 110

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block + 108)
        let scales = scales(block + 96)
        for part in 0..<2 {
            for side in 0..<2 {
                let codes = load16(block + 32 + 32 * part + 16 * side)
                let thirds = load16(block + 16 * side)
                for j in 0..<4 {
                    let group = 8 * part + 2 * j + side
                    let shift = SIMD16<UInt8>(repeating: UInt8(truncatingIfNeeded: 2 * j))
                    let place = SIMD16<UInt8>(repeating: UInt8(truncatingIfNeeded: 4 * part + j))
                    let code = ((codes &>> shift) & 3) | (((thirds &>> place) & 1) &<< 2)
                    storeSigned(code, minus: 4, d * Float(Int(scales[group]) - 32), out + 16 * group)
                }
            }
        }
    }

    /// Low four bits of scale g in byte g % 8 (half g / 8); high two bits in bytes 8-11, at bit 2 · (g / 4).
    @inline(__always)
    private static func scales(_ p: UnsafeRawPointer) -> SIMD16<UInt8> {
        let a = p.loadUnaligned(as: SIMD8<UInt8>.self)
        let b = (p + 8).loadUnaligned(as: SIMD4<UInt8>.self)
        let low = SIMD16(lowHalf: a & 15, highHalf: a &>> 4)
        let high = SIMD16(
            lowHalf: SIMD8(lowHalf: b & 3, highHalf: (b &>> 2) & 3),
            highHalf: SIMD8(lowHalf: (b &>> 4) & 3, highHalf: b &>> 6))
        return low | (high &<< 4)
    }
}

/// 144 bytes: d, dmin float16 | 8 scales and minima of six bits in 12 bytes | 128 bytes of codes.
/// weight = (d · scale) · code - (dmin · minimum), groups of 32, code of four bits
enum Q4_K: BlockCodec {
    static let elements = 256
    static let bytes = 144

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let dmin = half(block + 2)
        for pair in 0..<4 {
            let low = load16(block + 16 + 32 * pair)
            let high = load16(block + 32 + 32 * pair)
            let (scale0, minimum0) = SixBits.scaleAndMinimum(block + 4, 2 * pair)
            let (scale1, minimum1) = SixBits.scaleAndMinimum(block + 4, 2 * pair + 1)
            let out = out + 64 * pair
            store(low & 15, d * scale0, minus: dmin * minimum0, out)
            store(high & 15, d * scale0, minus: dmin * minimum0, out + 16)
            store(low &>> 4, d * scale1, minus: dmin * minimum1, out + 32)
            store(high &>> 4, d * scale1, minus: dmin * minimum1, out + 48)
        }
    }
}

/// 176 bytes: d, dmin float16 | 8 scales and minima of six bits in 12 bytes | 32 bytes of fifth bits | 128 bytes of codes.
/// weight = (d · scale) · code - (dmin · minimum), groups of 32, code of five bits
enum Q5_K: BlockCodec {
    static let elements = 256
    static let bytes = 176

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let dmin = half(block + 2)
        let fifthsLow = load16(block + 16)
        let fifthsHigh = load16(block + 32)
        for pair in 0..<4 {
            let low = load16(block + 48 + 32 * pair)
            let high = load16(block + 64 + 32 * pair)
            let (scale0, minimum0) = SixBits.scaleAndMinimum(block + 4, 2 * pair)
            let (scale1, minimum1) = SixBits.scaleAndMinimum(block + 4, 2 * pair + 1)
            let place = SIMD16<UInt8>(repeating: UInt8(truncatingIfNeeded: 2 * pair))
            let lows = fifthsLow &>> place
            let highs = fifthsHigh &>> place
            let out = out + 64 * pair
            store((low & 15) | ((lows & 1) &<< 4), d * scale0, minus: dmin * minimum0, out)
            store((high & 15) | ((highs & 1) &<< 4), d * scale0, minus: dmin * minimum0, out + 16)
            store((low &>> 4) | ((lows & 2) &<< 3), d * scale1, minus: dmin * minimum1, out + 32)
            store((high &>> 4) | ((highs & 2) &<< 3), d * scale1, minus: dmin * minimum1, out + 48)
        }
    }
}

/// 210 bytes: 128 bytes of low four bits | 64 bytes of high two bits | 16 signed scales | d float16.
/// weight = (d · scale) · (code - 32), groups of 16, code of six bits
enum Q6_K: BlockCodec {
    static let elements = 256
    static let bytes = 210

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block + 208)
        for part in 0..<2 {
            for side in 0..<2 {
                let first = load16(block + 64 * part + 16 * side)
                let second = load16(block + 64 * part + 32 + 16 * side)
                let high = load16(block + 128 + 32 * part + 16 * side)
                let scales = block + 192 + 8 * part + side
                let out = out + 128 * part + 16 * side
                storeSigned((first & 15) | ((high & 3) &<< 4), minus: 32, d * signed(scales), out)
                storeSigned((second & 15) | ((high & 12) &<< 2), minus: 32, d * signed(scales + 2), out + 32)
                storeSigned((first &>> 4) | (high & 48), minus: 32, d * signed(scales + 4), out + 64)
                storeSigned((second &>> 4) | ((high & 192) &>> 2), minus: 32, d * signed(scales + 6), out + 96)
            }
        }
    }

    @inline(__always)
    private static func signed(_ p: UnsafeRawPointer) -> Float { Float(p.load(as: Int8.self)) }
}

/// The scales and minima of Q4_K and Q5_K: eight of each, six bits, in 12 bytes.
enum SixBits {
    /// Groups 0-3 stand whole in bytes 0-3 and 4-7; groups 4-7 have four bits in bytes 8-11 and two atop bytes 0-7.
    @inline(__always)
    static func scaleAndMinimum(_ p: UnsafeRawPointer, _ group: Int) -> (scale: Float, minimum: Float) {
        let bytes = p.assumingMemoryBound(to: UInt8.self)
        if group < 4 { return (Float(bytes[group] & 63), Float(bytes[group + 4] & 63)) }
        return (
            Float((bytes[group + 4] & 15) | ((bytes[group - 4] >> 6) << 4)),
            Float((bytes[group + 4] >> 4) | ((bytes[group] >> 6) << 4))
        )
    }
}
