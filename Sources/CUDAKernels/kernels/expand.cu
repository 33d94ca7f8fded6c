// Stored 4- to 8-bit weights to elements, by the formulas of codes.cuh. Everything runs over the flattened matrix of `count` weights.
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
#include "codes.cuh"

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
            scale = nf4_scale(p.nested_values[p.maxima[block]], maximum, p.offset);
        }
        if (fast) {
#pragma unroll
            for (int k = 0; k < 8; k++) {
                // Eight lanes to a block.
                const float mine = shuffle(scale, 4 * k + lane / 8);
                float out[8];
#pragma unroll
                for (int i = 0; i < 8; i++) out[i] = book[nf4_code(word[k], i)] * mine;
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

template <int format> DEVICE void expand_all(const ExpandBlocks &p) {
    constexpr int length = Block<format>::bytes, weights = Block<format>::weights;
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
