// Stored weights as float32, 32 at a time: GGUF's blocks of 32 and 16-bit floats. The same functions expand a matrix and multiply it
// straight from its codes (dots.h).
//
// In the four- and five-bit blocks weight j is in the low half of byte j, weight j + 16 in the high half. A code times its float16
// scale is exact in float32 (at most 8 + 11 bits), so a fused multiply-add rounds as a product and a sum do.
#pragma once
#include "lanes.h"

/// 32 weights in their order.
typedef struct { lorikeet_float8 part[4]; } lorikeet_weights;

typedef unsigned lorikeet_uint8 __attribute__((ext_vector_type(8)));
typedef unsigned char lorikeet_bytes8 __attribute__((ext_vector_type(8)));
typedef signed char lorikeet_chars8 __attribute__((ext_vector_type(8)));
typedef unsigned short lorikeet_shorts8 __attribute__((ext_vector_type(8)));

typedef float lorikeet_float4 __attribute__((ext_vector_type(4)));

/// The float16 in the low and in the high half of `bits`, in the first two lanes.
///
/// The bits come as an integer: a load of 16 bits into a vector register would wait for what was in the register before.
LORIKEET_INLINE lorikeet_float4 lorikeet_half_bits(unsigned bits) {
#if defined(__F16C__)
    typedef short shorts __attribute__((vector_size(16)));
    typedef unsigned words __attribute__((vector_size(16)));
    const words all = {bits, 0, 0, 0};
    return (lorikeet_float4)__builtin_ia32_vcvtph2ps((shorts)all);
#else
    return (lorikeet_float4){(float)__builtin_bit_cast(_Float16, (unsigned short)bits),
                             (float)__builtin_bit_cast(_Float16, (unsigned short)(bits >> 16)), 0, 0};
#endif
}

/// The float16 at p.
LORIKEET_INLINE float lorikeet_half(const unsigned char *p) {
    unsigned short bits;
    __builtin_memcpy(&bits, p, 2);
    return lorikeet_half_bits(bits)[0];
}

/// Two float16 at p, or one in front of two other bytes.
LORIKEET_INLINE lorikeet_float4 lorikeet_halves(const unsigned char *p) {
    unsigned bits;
    __builtin_memcpy(&bits, p, 4);
    return lorikeet_half_bits(bits);
}

/// Eight bytes as unsigned integers.
LORIKEET_INLINE lorikeet_uint8 lorikeet_bytes(const unsigned char *p) {
    lorikeet_bytes8 bytes;
    __builtin_memcpy(&bytes, p, 8);
    return __builtin_convertvector(bytes, lorikeet_uint8);
}

/// Codes below 2^31 as float32.
LORIKEET_INLINE lorikeet_float8 lorikeet_floats(lorikeet_uint8 codes) { return __builtin_convertvector((lorikeet_int8)codes, lorikeet_float8); }

/// code * scale + minimum.
LORIKEET_INLINE lorikeet_float8 lorikeet_scaled(lorikeet_uint8 codes, float scale, float minimum) {
    return __builtin_elementwise_fma(lorikeet_floats(codes), (lorikeet_float8)scale, (lorikeet_float8)minimum);
}

/// (code - zero) * scale.
LORIKEET_INLINE lorikeet_float8 lorikeet_centred(lorikeet_uint8 codes, int zero, float scale) {
    return __builtin_convertvector((lorikeet_int8)codes - zero, lorikeet_float8) * scale;
}

/// Bits `first` to `first + 7` of 32, lowest first, as 16 or 0.
LORIKEET_INLINE lorikeet_uint8 lorikeet_fifths(const unsigned char *p, int first) {
    const lorikeet_uint8 places = {0, 1, 2, 3, 4, 5, 6, 7};
    return ((lorikeet_uint8)((unsigned)p[first / 8]) >> places & 1u) << 4u;
}

/// 18 bytes: d float16 | 16 bytes of codes. weight = (code - 8) * d
LORIKEET_INLINE lorikeet_weights lorikeet_q4_0(const unsigned char *block) {
    const float d = lorikeet_halves(block)[0];
    const lorikeet_uint8 a = lorikeet_bytes(block + 2), b = lorikeet_bytes(block + 10);
    return (lorikeet_weights){{lorikeet_centred(a & 15u, 8, d), lorikeet_centred(b & 15u, 8, d), lorikeet_centred(a >> 4u, 8, d),
                               lorikeet_centred(b >> 4u, 8, d)}};
}

/// 20 bytes: d, m float16 | 16 bytes of codes. weight = code * d + m
LORIKEET_INLINE lorikeet_weights lorikeet_q4_1(const unsigned char *block) {
    const lorikeet_float4 dm = lorikeet_halves(block);
    const float d = dm[0], m = dm[1];
    const lorikeet_uint8 a = lorikeet_bytes(block + 4), b = lorikeet_bytes(block + 12);
    return (lorikeet_weights){{lorikeet_scaled(a & 15u, d, m), lorikeet_scaled(b & 15u, d, m), lorikeet_scaled(a >> 4u, d, m),
                               lorikeet_scaled(b >> 4u, d, m)}};
}

/// 22 bytes: d float16 | 32 fifth bits | 16 bytes of codes. weight = (code - 16) * d
LORIKEET_INLINE lorikeet_weights lorikeet_q5_0(const unsigned char *block) {
    const float d = lorikeet_halves(block)[0];
    const lorikeet_uint8 a = lorikeet_bytes(block + 6), b = lorikeet_bytes(block + 14);
    const unsigned char *fifths = block + 2;
    return (lorikeet_weights){{lorikeet_centred((a & 15u) | lorikeet_fifths(fifths, 0), 16, d),
                               lorikeet_centred((b & 15u) | lorikeet_fifths(fifths, 8), 16, d),
                               lorikeet_centred((a >> 4u) | lorikeet_fifths(fifths, 16), 16, d),
                               lorikeet_centred((b >> 4u) | lorikeet_fifths(fifths, 24), 16, d)}};
}

/// 24 bytes: d, m float16 | 32 fifth bits | 16 bytes of codes. weight = code * d + m
LORIKEET_INLINE lorikeet_weights lorikeet_q5_1(const unsigned char *block) {
    const lorikeet_float4 dm = lorikeet_halves(block);
    const float d = dm[0], m = dm[1];
    const lorikeet_uint8 a = lorikeet_bytes(block + 8), b = lorikeet_bytes(block + 16);
    const unsigned char *fifths = block + 4;
    return (lorikeet_weights){{lorikeet_scaled((a & 15u) | lorikeet_fifths(fifths, 0), d, m),
                               lorikeet_scaled((b & 15u) | lorikeet_fifths(fifths, 8), d, m),
                               lorikeet_scaled((a >> 4u) | lorikeet_fifths(fifths, 16), d, m),
                               lorikeet_scaled((b >> 4u) | lorikeet_fifths(fifths, 24), d, m)}};
}

/// 34 bytes: d float16 | 32 signed bytes. weight = code * d
LORIKEET_INLINE lorikeet_weights lorikeet_q8_0(const unsigned char *block) {
    const float d = lorikeet_halves(block)[0];
    lorikeet_weights weights;
    for (int i = 0; i < 4; i++) {
        lorikeet_chars8 codes;
        __builtin_memcpy(&codes, block + 2 + 8 * i, 8);
        weights.part[i] = __builtin_convertvector(__builtin_convertvector(codes, lorikeet_int8), lorikeet_float8) * d;
    }
    return weights;
}

/// 64 bytes: 32 float16
LORIKEET_INLINE lorikeet_weights lorikeet_f16(const unsigned char *block) {
    lorikeet_weights weights;
    for (int i = 0; i < 4; i++) {
#if defined(__F16C__)
        typedef short shorts __attribute__((vector_size(16)));
        shorts bits;
        __builtin_memcpy(&bits, block + 16 * i, 16);
        weights.part[i] = (lorikeet_float8)__builtin_ia32_vcvtph2ps256(bits);
#else
        for (int j = 0; j < 8; j++) weights.part[i][j] = lorikeet_half(block + 16 * i + 2 * j);
#endif
    }
    return weights;
}

/// 64 bytes: 32 bfloat16
LORIKEET_INLINE lorikeet_weights lorikeet_bf16(const unsigned char *block) {
    lorikeet_weights weights;
    for (int i = 0; i < 4; i++) {
        lorikeet_shorts8 bits;
        __builtin_memcpy(&bits, block + 16 * i, 16);
        weights.part[i] = __builtin_bit_cast(lorikeet_float8, __builtin_convertvector(bits, lorikeet_uint8) << 16u);
    }
    return weights;
}

/// 32 weights to memory.
LORIKEET_INLINE void lorikeet_store_weights(lorikeet_weights weights, float *out) { __builtin_memcpy(out, &weights, sizeof weights); }
