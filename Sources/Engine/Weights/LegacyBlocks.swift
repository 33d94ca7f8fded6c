import CVector

// GGUF's blocks of 32: one float16 scale, perhaps a minimum, codes.
// `CVector` has their arithmetic, for expansion and for decoding.

/// 18 bytes: d float16 | 16 bytes of codes. weight = (code - 8) · d
enum Q4_0: BlockCodec {
    static let elements = 32
    static let bytes = 18

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        lorikeet_expand_q4_0(block.assumingMemoryBound(to: UInt8.self), 1, out)
    }
}

/// 20 bytes: d, m float16 | 16 bytes of codes. weight = code · d + m
enum Q4_1: BlockCodec {
    static let elements = 32
    static let bytes = 20

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        lorikeet_expand_q4_1(block.assumingMemoryBound(to: UInt8.self), 1, out)
    }
}

/// 22 bytes: d float16 | 32 fifth bits | 16 bytes of codes. weight = (code - 16) · d
enum Q5_0: BlockCodec {
    static let elements = 32
    static let bytes = 22

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        lorikeet_expand_q5_0(block.assumingMemoryBound(to: UInt8.self), 1, out)
    }
}

/// 24 bytes: d, m float16 | 32 fifth bits | 16 bytes of codes. weight = code · d + m
enum Q5_1: BlockCodec {
    static let elements = 32
    static let bytes = 24

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        lorikeet_expand_q5_1(block.assumingMemoryBound(to: UInt8.self), 1, out)
    }
}

/// 34 bytes: d float16 | 32 signed bytes. weight = code · d
enum Q8_0: BlockCodec {
    static let elements = 32
    static let bytes = 34

    @inline(__always)
    static func expand(_ block: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
        lorikeet_expand_q8_0(block.assumingMemoryBound(to: UInt8.self), 1, out)
    }
}

// MARK: - The steps that all formats are made of

/// A float16 of the file as float32.
@inline(__always)
func half(_ p: UnsafeRawPointer) -> Float { lorikeet_half(p.assumingMemoryBound(to: UInt8.self)) }

/// Sixteen bytes from any address.
@inline(__always)
func load16(_ p: UnsafeRawPointer) -> SIMD16<UInt8> { p.loadUnaligned(as: SIMD16<UInt8>.self) }

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
