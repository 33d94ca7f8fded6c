// Stored 4- to 8-bit codes and what a weight is made of them: shared by what expands matrices (expand.cu) and what multiplies straight
// from codes (decode.cu), so that both have the same bits.
//
//     NF4 (double quantised):  weight[i] = values[code[i]] * scale[i / 64]
//                              scale[b] = nested_values[maxima[b]] * nested_maxima[b / 256] + offset
//         codes two a byte, the first in the high half; product and sum rounded each on its own, as bitsandbytes does it
//     GGUF's blocks of 32 and 256: see Sources/Engine/Weights/LegacyBlocks.swift and KQuantBlocks.swift; the formulas are repeated
//     below. Products and sums are rounded each on its own there too.
#pragma once
#include "device.cuh"

// ---- NF4 ----

DEVICE float nf4_value(int code) {
    const float values[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                              -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                              0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                              0.7229568362236023f, 1.0f};
    return values[code];
}

/// Four bytes at any address, lowest first.
DEVICE u32 load_word(const u8 *p) { return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }

/// Scale of a block from its stored maximum and that of the 256 blocks it is among.
DEVICE float nf4_scale(float nested_value, float nested_maximum, float offset) { return add_rn(mul_rn(nested_value, nested_maximum), offset); }
/// Where code i of eight stands in their word.
DEVICE int nf4_code(u32 word, int i) { return (int)(word >> (i / 2 * 8 + (i % 2 == 0 ? 4 : 0)) & 15); }

// ---- GGUF's blocks ----

/// In the order of BlockFormat (Sources/Engine/Weights/BlockStore.swift), and what is no format of GGUF.
enum Format { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, nf4 };

/// Bytes and weights of a block.
template <int format> struct Block {
    enum { weights = format < q2_k ? 32 : 256 };
    enum {
        bytes = format == q4_0 ? 18 : format == q4_1 ? 20 : format == q5_0 ? 22 : format == q5_1 ? 24 : format == q8_0 ? 34
            : format == q2_k ? 84 : format == q3_k ? 110 : format == q4_k ? 144 : format == q5_k ? 176 : 210
    };
    /// The widest access that every block bears where the first stands at a multiple of 8.
    enum { access = bytes % 8 == 0 ? 8 : bytes % 4 == 0 ? 4 : 2 };
};

/// A float16 at an even address.
DEVICE float half_at(const u8 *p) { return to_float(*(const f16 *)p); }
/// Eight bytes at an address that bears accesses of `access` bytes; all blocks are of even length.
struct Eight {
    u32 low, high;
    template <int access> DEVICE Eight at(const u8 *p) {
        if constexpr (access == 8) {
            const uint2 x = *(const uint2 *)p;
            return {x.x, x.y};
        } else if constexpr (access == 4) {
            return {((const u32 *)p)[0], ((const u32 *)p)[1]};
        } else {
            const u16 *h = (const u16 *)p;
            return {(u32)h[0] | (u32)h[1] << 16, (u32)h[2] | (u32)h[3] << 16};
        }
    }
    /// Byte i.
    DEVICE int byte(Eight x, int i) { return (i < 4 ? x.low >> 8 * i : x.high >> 8 * (i - 4)) & 255; }
};

/// out = code * scale + more, two roundings; `more` is minus the minimum where the formula subtracts one.
DEVICE float scaled(int code, float scale, float more) { return add_rn(mul_rn((float)code, scale), more); }

/// The scale and minimum of group g of eight, six bits each in 12 bytes (Q4_K, Q5_K): groups 0-3 stand whole in bytes 0-3 and 4-7;
/// groups 4-7 have four bits in bytes 8-11 and two atop bytes 0-7.
DEVICE void six_bits(const u8 *p, int g, float &scale, float &minimum) {
    if (g < 4) {
        scale = (float)(p[g] & 63);
        minimum = (float)(p[g + 4] & 63);
    } else {
        scale = (float)((p[g + 4] & 15) | p[g - 4] >> 6 << 4);
        minimum = (float)(p[g + 4] >> 4 | p[g] >> 6 << 4);
    }
}

/// Weights first..first+7 (first a multiple of 8) of one block, read `access` bytes at a time: 2 at any even address.
template <int format, int access = 2> DEVICE void expand_eight(const u8 *block, int first, float *out) {
    if constexpr (format == q4_0 || format == q4_1 || format == q5_0 || format == q5_1) {
        // d | m (Q4_1, Q5_1) | 32 fifth bits (Q5) | 16 bytes: weight j in the low half of byte j, weight j + 16 in the high half
        constexpr bool has_minimum = format == q4_1 || format == q5_1, has_fifth = format == q5_0 || format == q5_1;
        constexpr int fifth_at = has_minimum ? 4 : 2, codes_at = fifth_at + (has_fifth ? 4 : 0);
        constexpr int zero = has_minimum ? 0 : has_fifth ? 16 : 8;
        const float d = half_at(block), m = has_minimum ? half_at(block + 2) : 0;
        const Eight bytes = Eight::at<access>(block + codes_at + first % 16);
        const int fifths = has_fifth ? block[fifth_at + first / 8] : 0, shift = first / 16 * 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(bytes, i) >> shift & 15) | (fifths >> i & 1) << 4;
            out[i] = has_minimum ? scaled(code, d, m) : (float)(code - zero) * d;
        }
    } else if constexpr (format == q8_0) {
        // d | 32 signed bytes
        const float d = half_at(block);
        const Eight bytes = Eight::at<access>(block + 2 + first);
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = (float)(signed char)Eight::byte(bytes, i) * d;
    } else if constexpr (format == q2_k) {
        // 16 scales (low half scale, high half minimum) | 64 bytes of codes | d, dmin; groups of 16
        const int scale = block[first / 16], part = first / 128, shift = first % 128 / 32 * 2;
        const float d = half_at(block + 80) * (float)(scale & 15), m = half_at(block + 82) * (float)(scale >> 4);
        const Eight bytes = Eight::at<access>(block + 16 + 32 * part + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = scaled(Eight::byte(bytes, i) >> shift & 3, d, -m);
    } else if constexpr (format == q3_k) {
        // 32 bytes of third bits | 64 bytes of codes | 16 scales of six bits in 12 bytes | d; groups of 16.
        // Low four bits of scale g in byte g % 8 (half g / 8), high two bits in bytes 8-11, at bit 2 * (g / 4).
        const int g = first / 16, part = first / 128, j = first % 128 / 32;
        const u8 *scales = block + 96;
        const int scale = (scales[g % 8] >> g / 8 * 4 & 15) | (scales[8 + g % 4] >> g / 4 * 2 & 3) << 4;
        const float d = half_at(block + 108) * (float)(scale - 32);
        const Eight bytes = Eight::at<access>(block + 32 + 32 * part + first % 32), thirds = Eight::at<access>(block + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(bytes, i) >> 2 * j & 3) | (Eight::byte(thirds, i) >> (4 * part + j) & 1) << 2;
            out[i] = (float)(code - 4) * d;
        }
    } else if constexpr (format == q4_k || format == q5_k) {
        // d, dmin | 8 scales and minima in 12 bytes | Q5: 32 bytes of fifth bits | 128 bytes of codes; groups of 32
        const int g = first / 32;
        float scale, minimum;
        six_bits(block + 4, g, scale, minimum);
        const float d = half_at(block) * scale, m = half_at(block + 2) * minimum;
        const Eight bytes = Eight::at<access>(block + (format == q5_k ? 48 : 16) + g / 2 * 32 + first % 32);
        Eight fifths = {0, 0};
        if (format == q5_k) fifths = Eight::at<access>(block + 16 + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(bytes, i) >> g % 2 * 4 & 15) | (Eight::byte(fifths, i) >> g & 1) << 4;
            out[i] = scaled(code, d, -m);
        }
    } else {
        // 128 bytes of low four bits | 64 bytes of high two bits | 16 signed scales | d; groups of 16
        const int part = first / 128, quarter = first % 128 / 32;
        const float d = half_at(block + 208) * (float)(signed char)block[192 + first / 16];
        const Eight low = Eight::at<access>(block + 64 * part + quarter % 2 * 32 + first % 32);
        const Eight high = Eight::at<access>(block + 128 + 32 * part + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(low, i) >> quarter / 2 * 4 & 15) | (Eight::byte(high, i) >> quarter * 2 & 3) << 4;
            out[i] = (float)(code - 32) * d;
        }
    }
}
