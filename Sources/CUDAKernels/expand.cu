// Stored 4- to 8-bit weights to elements. Everything runs over the flattened matrix of `count` weights.
//
//     NF4 (double quantised):  out[i] = values[code[i]] * scale[i / 64]
//                              scale[b] = nested_values[maxima[b]] * nested_maxima[b / 256] + offset
//         codes two a byte, the first in the high half; product and sum rounded each on its own, as bitsandbytes does it
//     GGUF's blocks of 32 and 256: see Sources/Engine/Weights/LegacyBlocks.swift and KQuantBlocks.swift; the formulas are repeated
//     below. Products and sums are rounded each on its own there too.
//
// expand_nf4 must run at the memory's speed. A warp takes 2,048 weights: each lane forms the scale of one of their 32 blocks, and
// meanwhile its eight words of codes are under way; a word is eight weights, neighbouring lanes have neighbouring words, and the
// scales are handed about by shuffles. The sixteen values lie in sixteen banks of shared memory, so lanes looking up different
// ones never wait for each other.
//
// Launch: expand_nf4: grid = count / 2048 / (threads / 32) rounded up, or fewer; threads 256 at most, a multiple of 32.
//         expand_blocks: grid = count / 8 / threads rounded up, or fewer; threads 256 at most. `blocks` is at an even address, and
//         count is a multiple of the format's block.
// Good: 256 threads, and at most 32 blocks a multiprocessor for expand_nf4.
#include "device.cuh"

// ---- NF4 ----

struct ExpandNF4 {
    const u8 *codes;
    const u8 *maxima;
    const u8 *nested_maxima;     // float32, at any address
    const float *nested_values;  // [256]
    element *out;
    i64 count;
    float offset;
};

DEVICE float nf4_value(int code) {
    const float values[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                              -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                              0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                              0.7229568362236023f, 1.0f};
    return values[code];
}

/// Four bytes at any address, lowest first.
DEVICE u32 load_word(const u8 *p) { return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }

KERNEL(256, expand_nf4, ExpandNF4) {
    SHARED float book[16];
    if (threadIdx.x < 16) book[threadIdx.x] = nf4_value((int)threadIdx.x);
    block_barrier();
    const int lane = threadIdx.x % 32;
    const i64 warps = (i64)gridDim.x * (blockDim.x / 32), tiles = (p.count + 2047) / 2048, blocks = (p.count + 63) / 64;
    const bool whole_floats = ((u64)p.nested_maxima & 3) == 0, packed = ((u64)p.codes & 3) == 0 && aligned(p.out);
    for (i64 tile = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; tile < tiles; tile += warps) {
        const i64 start = tile * 2048, block = tile * 32 + lane;
        const bool fast = packed && start + 2048 <= p.count;
        u32 word[8];
        if (fast) {
#pragma unroll
            for (int k = 0; k < 8; k++) word[k] = *(const u32 *)(p.codes + start / 2 + 128 * k + 4 * lane);
        }
        float scale = 0;
        if (block < blocks) {
            const u8 *nested = p.nested_maxima + block / 256 * 4;
            const float maximum = whole_floats ? *(const float *)nested : bits_to_float(load_word(nested));
            scale = add_rn(mul_rn(p.nested_values[p.maxima[block]], maximum), p.offset);
        }
        if (fast) {
#pragma unroll
            for (int k = 0; k < 8; k++) {
                // Eight lanes to a block.
                const float mine = shuffle(scale, 4 * k + lane / 8);
                float out[8];
#pragma unroll
                for (int i = 0; i < 8; i++) out[i] = book[word[k] >> (i / 2 * 8 + (i % 2 == 0 ? 4 : 0)) & 15] * mine;
                store_some<8>(out, p.out + start + 256 * k + 8 * lane);
            }
        } else {
            // The last tile, or addresses that bear no wide access: a byte of codes at a time.
#pragma unroll 1
            for (int k = 0; k < 32; k++) {
                const float mine = shuffle(scale, k);
                const i64 at = start + 64 * k + 2 * lane;
                if (at >= p.count) continue;
                const u8 code = p.codes[at / 2];
                p.out[at] = from_float<element>(book[code >> 4] * mine);
                if (at + 1 < p.count) p.out[at + 1] = from_float<element>(book[code & 15] * mine);
            }
        }
    }
}

// ---- GGUF's blocks ----

struct ExpandBlocks {
    const u8 *blocks;
    element *out;
    i64 count;
    int format;
};

enum Format { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k };

/// A float16 at an even address.
DEVICE float half_at(const u8 *p) { return to_float(*(const f16 *)p); }
/// Eight bytes at an even address; all blocks are of even length.
struct Eight {
    u32 low, high;
    DEVICE Eight at(const u8 *p) {
        const u16 *h = (const u16 *)p;
        return {(u32)h[0] | (u32)h[1] << 16, (u32)h[2] | (u32)h[3] << 16};
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

/// Weights first..first+7 (first a multiple of 8) of one block.
template <int format> DEVICE void expand_eight(const u8 *block, int first, float *out) {
    if constexpr (format == q4_0 || format == q4_1 || format == q5_0 || format == q5_1) {
        // d | m (Q4_1, Q5_1) | 32 fifth bits (Q5) | 16 bytes: weight j in the low half of byte j, weight j + 16 in the high half
        constexpr bool has_minimum = format == q4_1 || format == q5_1, has_fifth = format == q5_0 || format == q5_1;
        constexpr int fifth_at = has_minimum ? 4 : 2, codes_at = fifth_at + (has_fifth ? 4 : 0);
        constexpr int zero = has_minimum ? 0 : has_fifth ? 16 : 8;
        const float d = half_at(block), m = has_minimum ? half_at(block + 2) : 0;
        const Eight bytes = Eight::at(block + codes_at + first % 16);
        const int fifths = has_fifth ? block[fifth_at + first / 8] : 0, shift = first / 16 * 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(bytes, i) >> shift & 15) | (fifths >> i & 1) << 4;
            out[i] = has_minimum ? scaled(code, d, m) : (float)(code - zero) * d;
        }
    } else if constexpr (format == q8_0) {
        // d | 32 signed bytes
        const float d = half_at(block);
        const Eight bytes = Eight::at(block + 2 + first);
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = (float)(signed char)Eight::byte(bytes, i) * d;
    } else if constexpr (format == q2_k) {
        // 16 scales (low half scale, high half minimum) | 64 bytes of codes | d, dmin; groups of 16
        const int scale = block[first / 16], part = first / 128, shift = first % 128 / 32 * 2;
        const float d = half_at(block + 80) * (float)(scale & 15), m = half_at(block + 82) * (float)(scale >> 4);
        const Eight bytes = Eight::at(block + 16 + 32 * part + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = scaled(Eight::byte(bytes, i) >> shift & 3, d, -m);
    } else if constexpr (format == q3_k) {
        // 32 bytes of third bits | 64 bytes of codes | 16 scales of six bits in 12 bytes | d; groups of 16.
        // Low four bits of scale g in byte g % 8 (half g / 8), high two bits in bytes 8-11, at bit 2 * (g / 4).
        const int g = first / 16, part = first / 128, j = first % 128 / 32;
        const u8 *scales = block + 96;
        const int scale = (scales[g % 8] >> g / 8 * 4 & 15) | (scales[8 + g % 4] >> g / 4 * 2 & 3) << 4;
        const float d = half_at(block + 108) * (float)(scale - 32);
        const Eight bytes = Eight::at(block + 32 + 32 * part + first % 32), thirds = Eight::at(block + first % 32);
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
        const Eight bytes = Eight::at(block + (format == q5_k ? 48 : 16) + g / 2 * 32 + first % 32);
        Eight fifths = {0, 0};
        if (format == q5_k) fifths = Eight::at(block + 16 + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(bytes, i) >> g % 2 * 4 & 15) | (Eight::byte(fifths, i) >> g & 1) << 4;
            out[i] = scaled(code, d, -m);
        }
    } else {
        // 128 bytes of low four bits | 64 bytes of high two bits | 16 signed scales | d; groups of 16
        const int part = first / 128, quarter = first % 128 / 32;
        const float d = half_at(block + 208) * (float)(signed char)block[192 + first / 16];
        const Eight low = Eight::at(block + 64 * part + quarter % 2 * 32 + first % 32);
        const Eight high = Eight::at(block + 128 + 32 * part + first % 32);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int code = (Eight::byte(low, i) >> quarter / 2 * 4 & 15) | (Eight::byte(high, i) >> quarter * 2 & 3) << 4;
            out[i] = (float)(code - 32) * d;
        }
    }
}

template <int format> DEVICE void expand_all(const ExpandBlocks &p) {
    constexpr int lengths[10] = {18, 20, 22, 24, 34, 84, 110, 144, 176, 210};
    constexpr int length = lengths[format], weights = format < q2_k ? 32 : 256;
    const i64 step = (i64)gridDim.x * blockDim.x;
    const bool packed = aligned(p.out);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < p.count / 8; i += step) {
        float out[8];
        expand_eight<format>(p.blocks + i / (weights / 8) * length, (int)(i % (weights / 8)) * 8, out);
        if (packed) {
            store_some<8>(out, p.out + 8 * i);
        } else {
#pragma unroll
            for (int k = 0; k < 8; k++) p.out[8 * i + k] = from_float<element>(out[k]);
        }
    }
}

KERNEL(256, expand_blocks, ExpandBlocks) {
    switch (p.format) {
    case q4_0: return expand_all<q4_0>(p);
    case q4_1: return expand_all<q4_1>(p);
    case q5_0: return expand_all<q5_0>(p);
    case q5_1: return expand_all<q5_1>(p);
    case q8_0: return expand_all<q8_0>(p);
    case q2_k: return expand_all<q2_k>(p);
    case q3_k: return expand_all<q3_k>(p);
    case q4_k: return expand_all<q4_k>(p);
    case q5_k: return expand_all<q5_k>(p);
    case q6_k: return expand_all<q6_k>(p);
    }
}
