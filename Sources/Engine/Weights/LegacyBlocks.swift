// GGUF's blocks of 32: one float16 scale, perhaps a minimum, codes.
// In the four- and five-bit ones weight j is in the low half of byte j, weight j + 16 in the high half.

/// 18 bytes: d float16 | 16 bytes of codes. weight = (code - 8) · d
enum Q4_0: BlockCodec {
    static let elements = 32
    static let bytes = 18

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let codes = load16(block + 2)
        storeSigned(codes & 15, minus: 8, d, out)
        storeSigned(codes &>> 4, minus: 8, d, out + 16)
    }
}

/// 20 bytes: d, m float16 | 16 bytes of codes. weight = code · d + m
enum Q4_1: BlockCodec {
    static let elements = 32
    static let bytes = 20

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let m = half(block + 2)
        let codes = load16(block + 4)
        store(codes & 15, d, plus: m, out)
        store(codes &>> 4, d, plus: m, out + 16)
    }
}

/// 22 bytes: d float16 | 32 fifth bits | 16 bytes of codes. weight = (code - 16) · d
enum Q5_0: BlockCodec {
    static let elements = 32
    static let bytes = 22

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let codes = load16(block + 6)
        storeSigned((codes & 15) | fifthBits(block + 2), minus: 16, d, out)
        storeSigned((codes &>> 4) | fifthBits(block + 4), minus: 16, d, out + 16)
    }
}

/// 24 bytes: d, m float16 | 32 fifth bits | 16 bytes of codes. weight = code · d + m
enum Q5_1: BlockCodec {
    static let elements = 32
    static let bytes = 24

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let m = half(block + 2)
        let codes = load16(block + 8)
        store((codes & 15) | fifthBits(block + 4), d, plus: m, out)
        store((codes &>> 4) | fifthBits(block + 6), d, plus: m, out + 16)
    }
}

/// 34 bytes: d float16 | 32 signed bytes. weight = code · d
enum Q8_0: BlockCodec {
    static let elements = 32
    static let bytes = 34

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        storeSigned(load16(block + 2), minus: 0, d, out)
        storeSigned(load16(block + 18), minus: 0, d, out + 16)
    }
}

// MARK: - The steps that all formats are made of

/// A float16 of the file as float32.
@inline(__always)
func half(_ p: UnsafeRawPointer) -> Float { Float(p.loadUnaligned(as: Float16.self)) }

/// Sixteen bytes from any address.
@inline(__always)
func load16(_ p: UnsafeRawPointer) -> SIMD16<UInt8> { p.loadUnaligned(as: SIMD16<UInt8>.self) }

/// out[i] = code[i] · scale + minimum, two roundings.
@inline(__always)
func store(_ codes: SIMD16<UInt8>, _ scale: Float, plus minimum: Float, _ out: UnsafeMutablePointer<Float>) {
    store8(floats(codes.lowHalf) * scale + minimum, out)
    store8(floats(codes.highHalf) * scale + minimum, out + 8)
}

/// out[i] = code[i] · scale - minimum, two roundings.
@inline(__always)
func store(_ codes: SIMD16<UInt8>, _ scale: Float, minus minimum: Float, _ out: UnsafeMutablePointer<Float>) {
    store8(floats(codes.lowHalf) * scale - minimum, out)
    store8(floats(codes.highHalf) * scale - minimum, out + 8)
}

/// out[i] = (code[i] - zero) · scale; codes are bytes modulo 256, their differences within a signed byte.
@inline(__always)
func storeSigned(_ codes: SIMD16<UInt8>, minus zero: UInt8, _ scale: Float, _ out: UnsafeMutablePointer<Float>) {
    let signed = unsafeBitCast(codes &- SIMD16(repeating: zero), to: SIMD16<Int8>.self)
    store8(floats(signed.lowHalf) * scale, out)
    store8(floats(signed.highHalf) * scale, out + 8)
}

// Lane by lane becomes two instructions; SIMD8's converting initialisers stay calls in larger functions (a third of
// the speed is lost).

@inline(__always)
private func floats(_ v: SIMD8<UInt8>) -> SIMD8<Float> {
    SIMD8(
        Float(v[0]), Float(v[1]), Float(v[2]), Float(v[3]), Float(v[4]), Float(v[5]), Float(v[6]), Float(v[7]))
}

@inline(__always)
private func floats(_ v: SIMD8<Int8>) -> SIMD8<Float> {
    SIMD8(
        Float(v[0]), Float(v[1]), Float(v[2]), Float(v[3]), Float(v[4]), Float(v[5]), Float(v[6]), Float(v[7]))
}

/// Sixteen bits, lowest first, as 16 or 0 in sixteen bytes.
@inline(__always)
private func fifthBits(_ p: UnsafeRawPointer) -> SIMD16<UInt8> {
    let low = SIMD8<UInt8>(repeating: p.loadUnaligned(as: UInt8.self))
    let high = SIMD8<UInt8>(repeating: p.loadUnaligned(fromByteOffset: 1, as: UInt8.self))
    let places = SIMD16<UInt8>(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128)
    // Adding 127 carries any bit to the top of its byte.
    return (((SIMD16(lowHalf: low, highHalf: high) & places) &+ 127) & 128) &>> 3
}
