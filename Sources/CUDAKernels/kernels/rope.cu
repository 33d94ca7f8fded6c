// Rotary positions. cos, sin [rows, half] float32; joint [rows, ld], its first heads * head_dimension columns the heads, each head's
// first 2 * half dimensions rotated:
//
//     angle = float(position) * inverse_frequency       rounded to float32, as transformers does; of the second list of frequencies where
//                                                       the row's sequence is longer than the original context (LongRoPE)
//     x1' = x1 cos - x2 sin,   x2' = x2 cos + x1 sin     sin negated where `inverse`
//
// x1, x2: the two halves of the rotated dimensions (Hugging Face), or where `interleaved` dimensions 2 i and 2 i + 1 (GPT-J, GLM).
// A thread rotates 16 bytes of x1 and the same of x2, in place; the heads of a row share its angles, which come from the first-level cache
// after the first of them.
//
//     query_scale: joint[t, c] *= 1 + beta * log(1 + floor((position[t] + offset) / original)),   c < columns     (Llama 4, Ministral 3)
//
// Launch: rope_angles: grid.x = rows * half / threads rounded up, threads 256 at most.
//         rope_apply: grid.x = heads * half / (16 bytes' worth of elements) / threads rounded up, grid.y = min(rows, 65535),
//         threads 256 at most (128 are good). query_scale: the same with grid.x of columns. Any grid is right: the kernels step over what it does not cover.
#include "device.cuh"

struct RoPEAngles {
    const int *positions;
    const int *lengths;                /* of each row's sequence; read where original > 0 */
    const float *inverse_frequencies;  /* [half], or [2, half] where original > 0 */
    float *cos;
    float *sin;
    int rows, half, original;
    float scale;
};

KERNEL(256, rope_angles, RoPEAngles) {
    const i64 count = (i64)p.rows * p.half, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const int row = (int)(i / p.half), pair = (int)(i % p.half);
        const int list = p.original > 0 && p.lengths[row] > p.original ? p.half : 0;
        const float angle = mul_rn((float)p.positions[row], p.inverse_frequencies[list + pair]);
        p.cos[i] = cosf(angle) * p.scale;
        p.sin[i] = sinf(angle) * p.scale;
    }
}

struct RoPEApply {
    element *joint;
    const float *cos;
    const float *sin;
    int rows, ld, heads, head_dimension, half, inverse, interleaved;
};

template <int width, class T> DEVICE void load_piece(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width> DEVICE void store_piece(const float *from, element *to) {
    if constexpr (width == 1) to[0] = from_float<element>(from[0]); else store_some<width>(from, to);
}

template <int width, bool interleaved> DEVICE void rotate(const RoPEApply &p) {
    const u32 pieces = p.half / width, all = pieces * p.heads, step = gridDim.x * blockDim.x;
    for (int row = blockIdx.y; row < p.rows; row += gridDim.y)
        for (u32 unit = blockIdx.x * blockDim.x + threadIdx.x; unit < all; unit += step) {
            const int head = unit / pieces, i = unit % pieces * width;
            // x1 stands at 0..<width of the thread's numbers and x2 behind it, or they alternate.
            element *first = p.joint + (i64)row * p.ld + (i64)head * p.head_dimension + (interleaved ? 2 * i : i);
            element *second = first + (interleaved ? width : p.half);
            const i64 angle = (i64)row * p.half + i;
            float x[2 * width], c[width], s[width];
            load_piece<width>(first, x);
            load_piece<width>(second, x + width);
            load_piece<width>(p.cos + angle, c);
            load_piece<width>(p.sin + angle, s);
#pragma unroll
            for (int k = 0; k < width; k++) {
                const float sine = p.inverse ? -s[k] : s[k];
                float &one = x[interleaved ? 2 * k : k], &other = x[interleaved ? 2 * k + 1 : width + k];
                const float a = one, b = other;
                one = a * c[k] - b * sine;
                other = b * c[k] + a * sine;
            }
            store_piece<width>(x, first);
            store_piece<width>(x + width, second);
        }
}

template <int width> DEVICE void rotate_either(const RoPEApply &p) {
    if (p.interleaved) rotate<width, true>(p); else rotate<width, false>(p);
}

KERNEL(256, rope_apply, RoPEApply) {
    enum { wide = Pack<element>::count };
    if (p.half % wide == 0 && p.head_dimension % wide == 0 && p.ld % wide == 0 && aligned(p.joint) && aligned(p.cos) && aligned(p.sin))
        rotate_either<wide>(p);
    else
        rotate_either<1>(p);
}

struct QueryScale {
    element *joint;
    const int *positions;
    int rows, ld, columns, offset, original;
    float beta;
};

template <int width> DEVICE void scale_rows(const QueryScale &p) {
    const int first = (int)(blockIdx.x * blockDim.x + threadIdx.x) * width, step = (int)(gridDim.x * blockDim.x) * width;
    for (int row = blockIdx.y; row < p.rows; row += gridDim.y) {
        const float factor = 1 + p.beta * logf((float)(1 + (p.positions[row] + p.offset) / p.original));
        for (int c = first; c < p.columns; c += step) {
            float x[width];
            load_piece<width>(p.joint + (i64)row * p.ld + c, x);
#pragma unroll
            for (int i = 0; i < width; i++) x[i] *= factor;
            store_piece<width>(x, p.joint + (i64)row * p.ld + c);
        }
    }
}

KERNEL(256, query_scale, QueryScale) {
    enum { wide = Pack<element>::count };
    if (p.columns % wide == 0 && p.ld % wide == 0 && aligned(p.joint)) scale_rows<wide>(p); else scale_rows<1>(p);
}
