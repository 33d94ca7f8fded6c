// Rotary positions in Hugging Face's half-split form. cos, sin [rows, half] float32; joint [rows, ld], its first heads *
// head_dimension columns the heads, each head's first 2 * half dimensions rotated:
//
//     angle = float(position) * inverse_frequency       rounded to float32, as transformers does
//     x1' = x1 cos - x2 sin,   x2' = x2 cos + x1 sin     x1, x2 the halves; sin negated where `inverse`
//
// A thread turns 16 bytes of the first half and the same of the second, in place; the heads of a row share its angles, which
// come from the first-level cache after the first of them.
//
// Launch: rope_angles: grid.x = rows * half / threads rounded up, threads 256 at most.
//         rope_apply: grid.x = heads * half / (16 bytes' worth of elements) / threads rounded up, grid.y = min(rows, 65535),
//         threads 256 at most (128 are good). Any grid is right: the kernels step over what it does not cover.
#include "device.cuh"

struct RoPEAngles {
    const int *positions;
    const float *inverse_frequencies;
    float *cos;
    float *sin;
    int rows, half;
    float scale;
};

KERNEL(256, rope_angles, RoPEAngles) {
    const i64 count = (i64)p.rows * p.half, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const int row = (int)(i / p.half), pair = (int)(i % p.half);
        const float angle = mul_rn((float)p.positions[row], p.inverse_frequencies[pair]);
        p.cos[i] = cosf(angle) * p.scale;
        p.sin[i] = sinf(angle) * p.scale;
    }
}

struct RoPEApply {
    element *joint;
    const float *cos;
    const float *sin;
    int rows, ld, heads, head_dimension, half, inverse;
};

template <int width, class T> DEVICE void load_piece(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width> DEVICE void store_piece(const float *from, element *to) {
    if constexpr (width == 1) to[0] = from_float<element>(from[0]); else store_some<width>(from, to);
}

template <int width> DEVICE void rotate(const RoPEApply &p) {
    const u32 pieces = p.half / width, all = pieces * p.heads, step = gridDim.x * blockDim.x;
    for (int row = blockIdx.y; row < p.rows; row += gridDim.y)
        for (u32 unit = blockIdx.x * blockDim.x + threadIdx.x; unit < all; unit += step) {
            const int head = unit / pieces, i = unit % pieces * width;
            element *first = p.joint + (i64)row * p.ld + (i64)head * p.head_dimension + i;
            const i64 angle = (i64)row * p.half + i;
            float a[width], b[width], c[width], s[width];
            load_piece<width>(first, a);
            load_piece<width>(first + p.half, b);
            load_piece<width>(p.cos + angle, c);
            load_piece<width>(p.sin + angle, s);
#pragma unroll
            for (int k = 0; k < width; k++) {
                const float sine = p.inverse ? -s[k] : s[k];
                const float x = a[k], y = b[k];
                a[k] = x * c[k] - y * sine;
                b[k] = y * c[k] + x * sine;
            }
            store_piece<width>(a, first);
            store_piece<width>(b, first + p.half);
        }
}

KERNEL(256, rope_apply, RoPEApply) {
    enum { wide = Pack<element>::count };
    if (p.half % wide == 0 && p.head_dimension % wide == 0 && p.ld % wide == 0 && aligned(p.joint) && aligned(p.cos) && aligned(p.sin))
        rotate<wide>(p);
    else
        rotate<1>(p);
}
