// What Swift's SIMD types compile to scalar loops: comparisons, minima, selects; e^x, and NF4's codes.
#pragma once

typedef float lorikeet_float8 __attribute__((ext_vector_type(8)));
typedef int lorikeet_int8 __attribute__((ext_vector_type(8)));

#define LORIKEET_INLINE static inline __attribute__((always_inline))

LORIKEET_INLINE lorikeet_float8 lorikeet_max8(lorikeet_float8 a, lorikeet_float8 b) { return __builtin_elementwise_max(a, b); }
LORIKEET_INLINE lorikeet_float8 lorikeet_min8(lorikeet_float8 a, lorikeet_float8 b) { return __builtin_elementwise_min(a, b); }

/// value where bits >= threshold (unsigned 16-bit numbers in 32-bit lanes), else 0.
LORIKEET_INLINE lorikeet_float8 lorikeet_keep8(lorikeet_int8 bits, int threshold, float value) {
    const lorikeet_int8 kept = bits >= (lorikeet_int8)(threshold);
    const lorikeet_float8 all = value;
    return __builtin_bit_cast(lorikeet_float8, kept & __builtin_bit_cast(lorikeet_int8, all));
}

/// e^x within 2 units in the last place; 0 below -87.3 (and at -infinity), e^88.3 above 88.3, NaN for NaN.
///
/// Cephes' expf: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 5 for e^r, and 2^n put into the exponent.
LORIKEET_INLINE lorikeet_float8 lorikeet_exp8(lorikeet_float8 value) {
    // Comparisons in this order are one instruction each and let NaN through; `__builtin_elementwise_max` would drop it, and a
    // broken run would look sound.
    const lorikeet_float8 lowest = -87.3f, highest = 88.3f;
    lorikeet_float8 x = lowest > value ? lowest : value;
    x = highest < x ? highest : x;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const lorikeet_float8 magic = 12582912.0f;
    const lorikeet_float8 shifted = __builtin_elementwise_fma(x, (lorikeet_float8)(1.44269504f), magic);
    const lorikeet_float8 n = shifted - magic;
    lorikeet_float8 r = __builtin_elementwise_fma(n, (lorikeet_float8)(-0.693359375f), x);
    r = __builtin_elementwise_fma(n, (lorikeet_float8)(2.12194440e-4f), r);
    lorikeet_float8 p = 1.9875691500e-4f;
    p = __builtin_elementwise_fma(p, r, (lorikeet_float8)(1.3981999507e-3f));
    p = __builtin_elementwise_fma(p, r, (lorikeet_float8)(8.3334519073e-3f));
    p = __builtin_elementwise_fma(p, r, (lorikeet_float8)(4.1665795894e-2f));
    p = __builtin_elementwise_fma(p, r, (lorikeet_float8)(1.6666665459e-1f));
    p = __builtin_elementwise_fma(p, r, (lorikeet_float8)(5.0000001201e-1f));
    const lorikeet_float8 y = __builtin_elementwise_fma(p, r * r, r + 1.0f);
    const lorikeet_int8 power = __builtin_bit_cast(lorikeet_int8, shifted) << 23;
    const lorikeet_int8 bits = __builtin_bit_cast(lorikeet_int8, y) + power;
    const lorikeet_int8 below = value < lowest;
    return __builtin_bit_cast(lorikeet_float8, bits & ~below);
}

/// Eight NF4 codes (four bytes, first value in the high half) to eight values * scale.
///
/// `low` and `high` are the sixteen values of the code book. Every lane shifts its own half byte down; a permutation reads the
/// three low bits of a lane, and bit 3, moved to the sign, chooses between the two halves of the book.
LORIKEET_INLINE lorikeet_float8 lorikeet_nf4_8(const unsigned char *codes, lorikeet_float8 low, lorikeet_float8 high, float scale) {
    int word;
    __builtin_memcpy(&word, codes, 4);
    typedef unsigned lorikeet_uint8 __attribute__((ext_vector_type(8)));
    const lorikeet_uint8 shifts = {4, 0, 12, 8, 20, 16, 28, 24};
    const lorikeet_uint8 index = (lorikeet_uint8)((unsigned)word) >> shifts;
#if defined(__AVX2__)
    const lorikeet_float8 a = (lorikeet_float8)__builtin_ia32_permvarsf256(low, (lorikeet_int8)index);
    const lorikeet_float8 b = (lorikeet_float8)__builtin_ia32_permvarsf256(high, (lorikeet_int8)index);
#else
    lorikeet_float8 a, b;
    for (int i = 0; i < 8; i++) { a[i] = low[index[i] & 7]; b[i] = high[index[i] & 7]; }
#endif
    const lorikeet_int8 second = (lorikeet_int8)(index << 28) >> 31;
    const lorikeet_int8 bits = (__builtin_bit_cast(lorikeet_int8, a) & ~second) | (__builtin_bit_cast(lorikeet_int8, b) & second);
    return __builtin_bit_cast(lorikeet_float8, bits) * scale;
}
