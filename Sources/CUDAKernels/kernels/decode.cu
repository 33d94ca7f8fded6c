// A few rows times matrices of stored 4- to 8-bit codes, without expanding them: what a decoded token takes.
//
//     y[r, first_p + n] = sum_k x[r, k] * element(weight_p[n, k])     r < rows <= 16,  n < outputs_p
//
// Weights by the formulas of codes.cuh, rounded to the element as expand.cu rounds them: a row's numbers are those of expansion and a
// product, up to the order of the sum. Up to four matrices of one format and width k side by side in y [rows, ld]: elements, or float32
// where `wide` is set. Sums are float32, in an order that depends on k and the block's size alone: a row has the same bits whatever
// rows stand beside it.
//
// The time is that of reading the codes. A lane takes 32 weights of a row at a time, in NF4 one load of sixteen bytes; the four lanes
// (t) of a row have neighbouring ones, a warp eight rows (g), the block's warps divide k. In 16 bits the lane's weights are B of
// mma_16816 as they come out of their codes, for the order of k within a product is free: k of lane t stands for its own weights in A
// too, sixteen bytes of x loaded straight into fragments. So sixteen rows cost little more than one. x is read again for each `tiles`
// times eight outputs: 4 spares the second-level cache where there are many rows, 2 gives small matrices more blocks.
//
// Launch: grid = sum over parts of outputs / (8 tiles) rounded up; threads 256 or 128; tiles 2, in 16 bits also 4 where k is a multiple of
// 32. x and the matrices stand at multiples of 16 bytes, NF4's nested maxima at multiples of 4; k a multiple of the format's block (NF4:
// any). Compiled with -DFORMAT= (the enum of codes.cuh), for each takes half a second; without it for all.
#include "codes.cuh"

struct MultiplyCodes {
    const element *x;  // [rows, k]
    void *y;
    const float *nested_values;  // NF4 alone, like maxima and nested_maxima
    const u8 *codes[4];
    const u8 *maxima[4];
    const float *nested_maxima[4];
    int outputs[4];  // 0 from the number of parts on
    int first[4];
    float offset[4];
    int rows, k, ld, wide, tiles, format;
};

/// What NF4 looks up, in shared memory: values in banks of their own.
struct Books {
    float values[16];
    float nested[256];
};

/// 32 neighbouring weights of a row, loaded long before they are used.
template <int format> struct Run {
    const u8 *block;
    int first;
    DEVICE Run at(const MultiplyCodes &p, int part, i64 index) {
        constexpr int each = Block<format>::weights / 32;
        return {p.codes[part] + index / each * Block<format>::bytes, (int)(index % each) * 32};
    }
    DEVICE float scale(const MultiplyCodes &, int, const Books &, const Run &) { return 1; }
    /// Weights 8 j and the seven behind it.
    DEVICE void eight(const Run &run, int j, float, const Books &, float *out) {
        expand_eight<format, Block<format>::access>(run.block, run.first + 8 * j, out);
    }
};
template <> struct Run<nf4> {
    uint4 codes;
    float nested;
    u8 maximum;
    DEVICE Run at(const MultiplyCodes &p, int part, i64 index) {
        return {*(const uint4 *)(p.codes[part] + index * 16), p.nested_maxima[part][index / 512], p.maxima[part][index / 2]};
    }
    DEVICE float scale(const MultiplyCodes &p, int part, const Books &books, const Run &run) {
        return nf4_scale(books.nested[run.maximum], run.nested, p.offset[part]);
    }
    DEVICE void eight(const Run &run, int j, float scale, const Books &books, float *out) {
        const u32 word = j == 0 ? run.codes.x : j == 1 ? run.codes.y : j == 2 ? run.codes.z : run.codes.w;
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = books.values[nf4_code(word, i)] * scale;
    }
};

/// Where a block works: a part, and its outputs from `first` on.
struct Place {
    int part, first;
};

#if TYPE != 0
/// Sixteen bytes of a row of x; nothing outside.
DEVICE uint4 eight_of(const MultiplyCodes &p, int row, int column, bool inside) {
    return inside && row < p.rows ? *(const uint4 *)(p.x + (i64)row * p.k + column) : make_uint4(0, 0, 0, 0);
}

/// k in whole runs: sum[i] is mma_16816's C of outputs first + 8 i and the seven behind.
template <int format, int tiles> DEVICE void by_runs(const MultiplyCodes &p, Place place, const Books &books, float *partial) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int runs = p.k / 32, last = p.outputs[place.part] - 1;
    i64 row[tiles];
#pragma unroll
    for (int i = 0; i < tiles; i++) row[i] = (i64)(place.first + 8 * i + g < last ? place.first + 8 * i + g : last) * runs;
    float sum[tiles][4] = {};
    Run<format> next[tiles];
    auto load = [&](int base) {
        const int run = base + t < runs ? base + t : runs - 1;
#pragma unroll
        for (int i = 0; i < tiles; i++) next[i] = Run<format>::at(p, place.part, row[i] + run);
    };
    load(4 * warp);
    for (int base = 4 * warp; base < runs; base += 4 * warps) {
        Run<format> now[tiles];
#pragma unroll
        for (int i = 0; i < tiles; i++) now[i] = next[i];
        // What is loaded behind the end is the last run again, against zeros of x.
        const bool inside = base + t < runs;
        uint4 low[4], high[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            low[j] = eight_of(p, g, 32 * (base + t) + 8 * j, inside);
            high[j] = eight_of(p, g + 8, 32 * (base + t) + 8 * j, inside);
        }
        load(base + 4 * warps);
#pragma unroll
        for (int i = 0; i < tiles; i++) {
            const float scale = Run<format>::scale(p, place.part, books, now[i]);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float w[8];
                Run<format>::eight(now[i], j, scale, books, w);
                const u32 b[4] = {pack2<element>(w[0], w[1]), pack2<element>(w[2], w[3]), pack2<element>(w[4], w[5]), pack2<element>(w[6], w[7])};
                const u32 a[2][4] = {{low[j].x, high[j].x, low[j].y, high[j].y}, {low[j].z, high[j].z, low[j].w, high[j].w}};
                mma_16816<element>(sum[i], a[0], b);
                mma_16816<element>(sum[i], a[1], b + 2);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < tiles; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) partial[(warp * 16 + g + e / 2 * 8) * (8 * tiles) + 8 * i + 2 * t + e % 2] = sum[i][e];
}
#endif

/// Adds up what the four lanes of an output have, and leaves it where by_runs would.
template <int tiles> DEVICE void leave(float (*sum)[16], float *partial) {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < tiles; i++)
#pragma unroll
        for (int r = 0; r < 16; r++) {
            float x = sum[i][r];
            x += shuffle_xor(x, 1);
            x += shuffle_xor(x, 2);
            if (t == 0) partial[(warp * 16 + r) * (8 * tiles) + 8 * i + g] = x;
        }
}

#if TYPE == 0
/// The same in float32.
template <int format, int tiles> DEVICE void by_runs(const MultiplyCodes &p, Place place, const Books &books, float *partial) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int runs = p.k / 32, last = p.outputs[place.part] - 1;
    float sum[tiles][16] = {};
    for (int run = 4 * warp + t; run < runs; run += 4 * warps) {
        Run<format> now[tiles];
        float scale[tiles];
#pragma unroll
        for (int i = 0; i < tiles; i++) {
            now[i] = Run<format>::at(p, place.part, (i64)(place.first + 8 * i + g < last ? place.first + 8 * i + g : last) * runs + run);
            scale[i] = Run<format>::scale(p, place.part, books, now[i]);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float w[tiles][8];
#pragma unroll
            for (int i = 0; i < tiles; i++) Run<format>::eight(now[i], j, scale[i], books, w[i]);
#pragma unroll
            for (int r = 0; r < 16; r++) {
                if (r >= p.rows) break;
                float x[8];
                load_some<8>(p.x + (i64)r * p.k + 32 * run + 8 * j, x);
#pragma unroll
                for (int i = 0; i < tiles; i++)
#pragma unroll
                    for (int k = 0; k < 8; k++) sum[i][r] += x[k] * w[i][k];
            }
        }
    }
    leave<tiles>(sum, partial);
}
#endif

/// NF4 whose rows begin anywhere in a block: a weight at a time.
template <int tiles> DEVICE void one_by_one(const MultiplyCodes &p, Place place, const Books &books, float *partial) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int last = p.outputs[place.part] - 1;
    float sum[tiles][16] = {};
    for (int k = 4 * warp + t; k < p.k; k += 4 * warps) {
#pragma unroll
        for (int i = 0; i < tiles; i++) {
            const i64 at = (i64)(place.first + 8 * i + g < last ? place.first + 8 * i + g : last) * p.k + k;
            const u8 code = p.codes[place.part][at / 2];
            const float scale = nf4_scale(books.nested[p.maxima[place.part][at / 64]], p.nested_maxima[place.part][at / 16384], p.offset[place.part]);
            const float w = to_float(from_float<element>(books.values[at % 2 == 0 ? code >> 4 : code & 15] * scale));
#pragma unroll
            for (int r = 0; r < 16; r++)
                if (r < p.rows) sum[i][r] += to_float(p.x[(i64)r * p.k + k]) * w;
        }
    }
    leave<tiles>(sum, partial);
}

template <int format, int tiles> DEVICE void multiply_codes_of(const MultiplyCodes &p, const Books &books, float *partial) {
    Place place = {0, (int)blockIdx.x * 8 * tiles};
    while (place.first >= p.outputs[place.part]) {
        place.first -= (p.outputs[place.part] + 8 * tiles - 1) / (8 * tiles) * (8 * tiles);
        place.part++;
    }
    if constexpr (format == nf4 && tiles == 2) {
        if (p.k % 32 == 0) by_runs<format, tiles>(p, place, books, partial);
        else one_by_one<tiles>(p, place, books, partial);
    } else {
        by_runs<format, tiles>(p, place, books, partial);
    }
    block_barrier();
    for (int i = threadIdx.x; i < p.rows * 8 * tiles; i += blockDim.x) {
        const int r = i / (8 * tiles), n = i % (8 * tiles);
        if (place.first + n >= p.outputs[place.part]) continue;
        float sum = 0;
        for (int warp = 0; warp < (int)blockDim.x / 32; warp++) sum += partial[(warp * 16 + r) * (8 * tiles) + n];
        const i64 to = (i64)r * p.ld + p.first[place.part] + place.first + n;
        if (p.wide) ((float *)p.y)[to] = sum;
        else ((element *)p.y)[to] = from_float<element>(sum);
    }
}

template <int format> DEVICE void multiply_codes_tiled(const MultiplyCodes &p, Books &books, float *partial) {
    if constexpr (format == nf4) {
        if (threadIdx.x < 16) books.values[threadIdx.x] = nf4_value((int)threadIdx.x);
        for (int i = threadIdx.x; i < 256; i += blockDim.x) books.nested[i] = p.nested_values[i];
        block_barrier();
    }
#if TYPE != 0
    if (p.tiles == 4) return multiply_codes_of<format, 4>(p, books, partial);
#endif
    multiply_codes_of<format, 2>(p, books, partial);
}

KERNEL_OF_MANY(256, 2, multiply_codes, MultiplyCodes) {
    SHARED Books books;
    SHARED float partial[8 * 16 * 32];
#ifdef FORMAT
    multiply_codes_tiled<FORMAT>(p, books, partial);
#else
    switch (p.format) {
    case q4_0: return multiply_codes_tiled<q4_0>(p, books, partial);
    case q4_1: return multiply_codes_tiled<q4_1>(p, books, partial);
    case q5_0: return multiply_codes_tiled<q5_0>(p, books, partial);
    case q5_1: return multiply_codes_tiled<q5_1>(p, books, partial);
    case q8_0: return multiply_codes_tiled<q8_0>(p, books, partial);
    case q2_k: return multiply_codes_tiled<q2_k>(p, books, partial);
    case q3_k: return multiply_codes_tiled<q3_k>(p, books, partial);
    case q4_k: return multiply_codes_tiled<q4_k>(p, books, partial);
    case q5_k: return multiply_codes_tiled<q5_k>(p, books, partial);
    case q6_k: return multiply_codes_tiled<q6_k>(p, books, partial);
    case nf4: return multiply_codes_tiled<nf4>(p, books, partial);
    }
#endif
}
