// Dropout by a stateless generator (dropout.cuh). x, out [rows, columns]; keys [rows].
//
//     apply: out = mask * x,   add: out += mask * x,   mask = scale where the element stays, else 0
//
// A thread makes the hashes of 16 bytes' worth of the first eight columns and uses their high halves for as much of the last
// eight: a whole sixteen in 16 bits, half of one in float32. No mask is stored.
//
// Launch: grid.x = columns / 16, rounded up, times (float32: 2) / threads rounded up, grid.y = min(rows, 65535), threads 256 at
// most (128 are good). Any grid is right: the kernels step over what it does not cover.
#include "dropout.cuh"

struct Dropout {
    const element *x;
    const u32 *keys;
    element *out;
    int rows, columns, module;
    u32 threshold;
    float scale;
};

enum { wide = Pack<element>::count };

/// The fused product and sum of the CPU's: one rounding, then that to an element.
template <bool adding> DEVICE float dropped(float x, float mask, float out) { return adding ? fmaf(x, mask, out) : x * mask; }

/// Columns from `at` on, at most `wide` of them and none past the row.
template <bool adding, bool packed> DEVICE void piece(const Dropout &p, i64 row, int column, const float *mask) {
    const element *x = p.x + row * p.columns + column;
    element *out = p.out + row * p.columns + column;
    if constexpr (packed) {
        if (column >= p.columns) return;
        float a[wide], b[wide];
        load_pack(x, a);
        if (adding) load_pack(out, b);
#pragma unroll
        for (int i = 0; i < wide; i++) a[i] = dropped<adding>(a[i], mask[i], b[i]);
        store_pack(a, out);
    } else {
#pragma unroll
        for (int i = 0; i < wide; i++) {
            if (column + i < p.columns)
                out[i] = from_float<element>(dropped<adding>(to_float(x[i]), mask[i], adding ? to_float(out[i]) : 0));
        }
    }
}

template <bool adding, bool packed> DEVICE void drop(const Dropout &p) {
    const u32 pieces = 8 / wide, all = ((u32)p.columns + 15) / 16 * pieces, step = gridDim.x * blockDim.x;
    for (int row = blockIdx.y; row < p.rows; row += gridDim.y) {
        const u32 seed = mask_seed(p.keys[row], p.module);
        for (u32 unit = blockIdx.x * blockDim.x + threadIdx.x; unit < all; unit += step) {
            const u32 group = unit / pieces, first = unit % pieces * wide;
            float low[wide], high[wide];
#pragma unroll
            for (int i = 0; i < wide; i++) {
                const u32 bits = mask_numbers(seed, 8 * group + first + i);
                low[i] = (bits & 0xffff) >= p.threshold ? p.scale : 0;
                high[i] = bits >> 16 >= p.threshold ? p.scale : 0;
            }
            piece<adding, packed>(p, row, (int)(16 * group + first), low);
            piece<adding, packed>(p, row, (int)(16 * group + first) + 8, high);
        }
    }
}

template <bool adding> DEVICE void drop_any(const Dropout &p) {
    if (p.columns % wide == 0 && aligned(p.x) && aligned(p.out)) drop<adding, true>(p); else drop<adding, false>(p);
}

KERNEL(256, dropout_apply, Dropout) { drop_any<false>(p); }
KERNEL(256, dropout_add, Dropout) { drop_any<true>(p); }
