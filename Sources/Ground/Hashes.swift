/// SplitMix64's mixing function (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): 64 well mixed bits as a
/// function of `value` alone, so a stateless source of random numbers.
@inlinable package func mix64(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
}

/// A number in -1 ..< 1, uniform over the values of `value`.
@inlinable package func uniform(_ value: UInt64) -> Float { Float(mix64(value) >> 40) / Float(1 << 23) - 1 }

/// FNV-1a of 64 bits (Fowler, Noll, Vo), byte by byte or word by word. For short inputs and old files; `ContentHash` is for large ones.
package struct FNV1a {
    @usableFromInline var state: UInt64
    @inlinable package var value: UInt64 { state }

    @inlinable package init(from start: UInt64 = 0xCBF2_9CE4_8422_2325) { state = start }

    package init(of bytes: some Sequence<UInt8>) {
        self.init()
        for byte in bytes { add(UInt64(byte)) }
    }

    @inlinable package mutating func add(_ word: UInt64) { state = (state ^ word) &* 0x100_0000_01B3 }
}
