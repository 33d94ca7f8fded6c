// The products of adapters under dropout, in 16 bits, on tensor cores: each streams an activation past a few ranks once, and decides
// on the way what stays (numbers as in dropout.cuh), so that no masked copy of an activation exists. Without dropout the library's
// products are as fast.
//
//     down:  product[t, k] = scale * sum_c mask_p(t, c) x[t, c] a[k, c]                     k in 0..<ranks, p = k / rank its part
//     add:   out[t, c] += scale * sum_p mask_p(t, c) sum_{k in part p} product[t, k] a[k, c]
//
//     grad:  partial[s, k, c] = sum over the rows t of split s of product[t, k] mask_p(t, c) x[t, c];   d_a += scale * sum_s partial
//
// mask_p is 0 or 1 (1 / (1 - probability) stands in `scale`), of module `module` + p.
// Dimensions: rank a multiple of 8; columns a multiple of 32; rows of x, out and a at multiples of 16 bytes.
//
// The order of columns inside a product is free as long as both operands have the same: a thread takes 16 bytes of a row, which
// serve two products of depth 16 (down) or come out of four of width 8 (add).
//
// Launch: lora_down: grid (rows / 16 rounded up, ranks / 32 rounded up), threads 256.
//         lora_add: grid (columns / 128 rounded up, as many as share the rows), threads 128; parts * (rank / 16 rounded up) <= 2, _wide 3 or 4:
//         a kernel of its own, for it takes so many registers that half as many blocks fit on a multiprocessor.
//         lora_grad, lora_grad_wide: grid (columns / 64 rounded up, rows / share rounded up = splits), threads 128; the same limits; share a multiple of 64.
//         lora_grad_sum: grid ranks * columns / threads rounded up, threads 256.
#include "dropout.cuh"

#if TYPE != 0

/// Which of the eight columns from `column` on (a multiple of 8) stay: bits 0 to 7. The lane whose number differs by `other` asks for the same row and
/// the other eight of the sixteen columns that share their numbers: each of the two makes half of the numbers. All lanes of a warp take part.
template <int other> DEVICE u32 kept_columns(u32 seed, int column, u32 threshold) {
    const int half = column / 8 % 2;
    u32 low = 0, high = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        const u32 two = mask_numbers(seed, (u32)column / 16 * 8 + 4 * half + i);
        low |= ((two & 0xffff) >= threshold ? 1u : 0u) << i;
        high |= (two >> 16 >= threshold ? 1u : 0u) << i;
    }
    const u32 passed = shuffle_xor(half ? low : high, other);
    return half ? high << 4 | passed : low | passed << 4;
}
/// Elements 2 i and 2 i + 1 of a word, where their bits are set.
DEVICE u32 masked(u32 word, u32 bits, int i) { return word & ((bits >> (2 * i) & 1 ? 0xffffu : 0) | (bits >> (2 * i + 1) & 1 ? 0xffff0000u : 0)); }

struct LoRADown {
    const element *x;     // [rows, columns]
    const element *a;     // [ranks, columns]
    const u32 *keys;      // [rows]
    element *product;     // [rows, ranks]
    int rows, columns, ranks, rank, module;
    u32 threshold;
    float scale;
};

KERNEL(256, lora_down, LoRADown) {
    enum { warps = 8, tiles = 4 };
    SHARED float partial[warps][16][8 * tiles];
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int row = blockIdx.x * 16 + g, first = blockIdx.y * 8 * tiles;
    const int mine = p.ranks - first < 8 * tiles ? (p.ranks - first) / 8 : tiles;
    float sum[tiles][4] = {};
    for (int c = 32 * warp; c < p.columns; c += 32 * warps) {
        const int at = c + 8 * t;
        uint4 x[2];
#pragma unroll
        for (int h = 0; h < 2; h++) x[h] = row + 8 * h < p.rows ? *(const uint4 *)(p.x + (i64)(row + 8 * h) * p.columns + at) : make_uint4(0, 0, 0, 0);
        u32 low[4] = {x[0].x, x[0].y, x[0].z, x[0].w}, high[4] = {x[1].x, x[1].y, x[1].z, x[1].w};
        int part = -1;
#pragma unroll
        for (int j = 0; j < tiles; j++) {
            if (j >= mine) break;
            const uint4 b4 = *(const uint4 *)(p.a + (i64)(first + 8 * j + g) * p.columns + at);
            const u32 b[4] = {b4.x, b4.y, b4.z, b4.w};
            const int now = (first + 8 * j) / p.rank;
            if (now != part) {
                part = now;
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const u32 bits = kept_columns<1>(mask_seed(row + 8 * h < p.rows ? p.keys[row + 8 * h] : 0, p.module + part), at, p.threshold);
                    const u32 words[4] = {x[h].x, x[h].y, x[h].z, x[h].w};
#pragma unroll
                    for (int i = 0; i < 4; i++) (h ? high : low)[i] = masked(words[i], bits, i);
                }
            }
#pragma unroll
            for (int s = 0; s < 2; s++) {
                const u32 a[4] = {low[2 * s], high[2 * s], low[2 * s + 1], high[2 * s + 1]};
                mma_16816<element>(sum[j], a, b + 2 * s);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < tiles; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) partial[warp][g + e / 2 * 8][8 * j + 2 * t + e % 2] = sum[j][e];
    block_barrier();
    for (int i = threadIdx.x; i < 16 * 8 * mine; i += blockDim.x) {
        const int r = i / (8 * mine), k = i % (8 * mine), at = blockIdx.x * 16 + r;
        if (at >= p.rows) continue;
        float total = 0;
#pragma unroll
        for (int w = 0; w < warps; w++) total += partial[w][r][k];
        p.product[(i64)at * p.ranks + first + k] = from_float<element>(total * p.scale);
    }
}

struct LoRAAdd {
    const element *product;  // [rows, ranks]
    const element *a;        // [ranks, columns]
    const u32 *keys;
    element *out;            // [rows, columns]
    int rows, columns, ranks, parts, rank, module;
    u32 threshold;
    float scale;
};

/// a's fragments for a strip of 32 columns: step s of 16 ranks (of which `valid` count) from rank `first` on.
DEVICE void load_strip(const LoRAAdd &p, u32 (*b)[2], int strip, int first, int valid) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int column = strip + g / 2 * 8 + 2 * j + g % 2;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int k = first + 2 * t + 8 * h;
            u32 word = 0;
            if (8 * h < valid && column < p.columns) {
                word = (u32)p.a[(i64)k * p.columns + column].bits | (u32)p.a[(i64)(k + 1) * p.columns + column].bits << 16;
            }
            b[j][h] = word;
        }
    }
}

template <int steps> DEVICE void add_strip(const LoRAAdd &p) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int strip = (blockIdx.x * 4 + threadIdx.x / 32) * 32, column = strip + 8 * t;
    if (strip >= p.columns) return;
    const int each = (p.rank + 15) / 16;  // steps of a part
    u32 b[steps][4][2];
#pragma unroll
    for (int s = 0; s < steps; s++) {
        const int within = s % each * 16;
        load_strip(p, b[s], strip, s / each * p.rank + within, p.rank - within);
    }
    const int share = rows_of_block(p.rows), start = blockIdx.y * share, end = start + share < p.rows ? start + share : p.rows;
    for (int first = start; first < end; first += 16) {
        float out[2][8];
        u32 a[steps][4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = first + g + 8 * h;
            const bool inside = row < end;
            if (inside) load_pack(p.out + (i64)row * p.columns + column, out[h]);
#pragma unroll
            for (int s = 0; s < steps; s++) {
                const int within = s % each * 16;
                const element *from = p.product + (i64)row * p.ranks + s / each * p.rank + within + 2 * t;
                a[s][h] = inside ? *(const u32 *)from : 0;
                a[s][2 + h] = inside && within + 8 < p.rank ? *(const u32 *)(from + 8) : 0;
            }
        }
        float sum[4][4] = {};
#pragma unroll
        for (int s = 0; s < steps; s++) {
#pragma unroll
            for (int j = 0; j < 4; j++) mma_16816<element>(sum[j], a[s], b[s][j]);
            // A part ends: its mask decides what of it counts.
            if ((s + 1) % each != 0) continue;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = first + g + 8 * h;
                const u32 bits = kept_columns<1>(mask_seed(row < end ? p.keys[row] : 0, p.module + s / each), column, p.threshold);
#pragma unroll
                for (int i = 0; i < 8; i++) out[h][i] += bits >> i & 1 ? sum[i / 2][2 * h + i % 2] * p.scale : 0;
            }
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
        }
#pragma unroll
        for (int h = 0; h < 2; h++)
            if (first + g + 8 * h < end) store_pack(out[h], p.out + (i64)(first + g + 8 * h) * p.columns + column);
    }
}

KERNEL_OF_MANY(128, 4, lora_add, LoRAAdd) {
    if (p.parts * ((p.rank + 15) / 16) == 1) add_strip<1>(p);
    else add_strip<2>(p);
}
KERNEL(128, lora_add_wide, LoRAAdd) {
    if (p.parts * ((p.rank + 15) / 16) == 3) add_strip<3>(p);
    else add_strip<4>(p);
}

struct LoRAGrad {
    const element *product;  // [rows, ranks]
    const element *x;        // [rows, columns]
    const u32 *keys;
    float *partial;          // [splits, ranks, columns]
    int rows, columns, ranks, rank, module, share;
    u32 threshold;
};

/// A thread holds eight columns of four rows: element j of them belongs to the product's tile j.
template <int steps> DEVICE void grad_strip(const LoRAGrad &p, float (*shared)[16][65]) {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int column = blockIdx.x * 64 + 8 * g, each = (p.rank + 15) / 16;
    const int start = blockIdx.y * p.share, end = start + p.share < p.rows ? start + p.share : p.rows;
    float sum[steps][8][4] = {};
    for (int first = start + 16 * warp; first < end; first += 64) {
        uint4 x[4];
        int row[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            row[i] = first + 2 * t + i % 2 + i / 2 * 8;
            x[i] = row[i] < end && column < p.columns ? *(const uint4 *)(p.x + (i64)row[i] * p.columns + column) : make_uint4(0, 0, 0, 0);
        }
        u32 word[4][4];
#pragma unroll
        for (int s = 0; s < steps; s++) {
            const int part = s / each, rank = part * p.rank + s % each * 16, valid = p.rank - s % each * 16;
            if (s % each == 0) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const u32 bits = kept_columns<4>(mask_seed(row[i] < end ? p.keys[row[i]] : 0, p.module + part), column, p.threshold);
                    const u32 words[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
#pragma unroll
                    for (int w = 0; w < 4; w++) word[i][w] = masked(words[w], bits, w);
                }
            }
            u32 a[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const element *from = p.product + rank + g + i % 2 * 8;
                const bool there = i % 2 == 0 || valid > 8;
                const u32 low = bits_or_zero(from + (i64)row[i / 2 * 2] * p.ranks, there && row[i / 2 * 2] < end);
                a[i] = low | bits_or_zero(from + (i64)row[i / 2 * 2 + 1] * p.ranks, there && row[i / 2 * 2 + 1] < end) << 16;
            }
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const u32 b[2] = {beside(word[0][j / 2], word[1][j / 2], j % 2), beside(word[2][j / 2], word[3][j / 2], j % 2)};
                mma_16816<element>(sum[s][j], a, b);
            }
        }
    }
#pragma unroll
    for (int s = 0; s < steps; s++) {
        block_barrier();
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) shared[warp][g + e / 2 * 8][8 * (2 * t + e % 2) + j] = sum[s][j][e];
        block_barrier();
        const int rank = s / each * p.rank + s % each * 16, valid = p.rank - s % each * 16 < 16 ? p.rank - s % each * 16 : 16;
        for (int i = threadIdx.x; i < valid * 64; i += blockDim.x) {
            const int r = i / 64, c = i % 64;
            if (blockIdx.x * 64 + c >= p.columns) continue;
            const float total = (shared[0][r][c] + shared[1][r][c]) + (shared[2][r][c] + shared[3][r][c]);
            p.partial[((i64)blockIdx.y * p.ranks + rank + r) * p.columns + blockIdx.x * 64 + c] = total;
        }
    }
}

KERNEL_OF_MANY(128, 3, lora_grad, LoRAGrad) {
    SHARED float shared[4][16][65];
    if (p.ranks / p.rank * ((p.rank + 15) / 16) == 1) grad_strip<1>(p, shared);
    else grad_strip<2>(p, shared);
}
KERNEL(128, lora_grad_wide, LoRAGrad) {
    SHARED float shared[4][16][65];
    if (p.ranks / p.rank * ((p.rank + 15) / 16) == 3) grad_strip<3>(p, shared);
    else grad_strip<4>(p, shared);
}

struct LoRAGradSum {
    const float *partial;
    float *d_a;  // [ranks, columns], added to
    i64 count;
    int splits;
    float scale;
};

KERNEL(256, lora_grad_sum, LoRAGradSum) {
    const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.count) return;
    float total = 0;
#pragma unroll 8
    for (int s = 0; s < p.splits; s++) total += p.partial[s * p.count + i];
    p.d_a[i] += p.scale * total;
}

#endif
