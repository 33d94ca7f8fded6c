// Root-mean-square normalisation with the residual addition in front. hidden, delta, sum, dx [rows, columns]; weight [columns].
//
//     h = hidden + delta_scale * delta     (delta optional; written to `sum` when there is one)
//     r = 1 / sqrt(mean_c h² + epsilon)    [rows]
//     y = h * r * (weight + offset)
//     dx = r * (g - h * r² * mean_c(g h)) (+ residual_gradient),   g = dy * (weight + offset)
//
// A block takes a row. The row stays in registers between the reduction and its use, so memory is read once; what 16 elements a
// thread do not hold is read again (from L2, mostly). Loads of a row all come before the first store: the arrays may be one
// another (dx the same as residual_gradient, say), so the compiler may not move a load up past a store by itself.
//
// Launch: grid = rows, threads a multiple of 32 from 32 to 512. Memory is read once where 16 * threads >= columns; good is
// the least such number, columns / 16 rounded up to 32: several blocks to a multiprocessor, several loads to a thread.
#include "device.cuh"

/// Elements of a row that a thread keeps.
enum { kept = 16 };
/// As many of the residual stream as 16 bytes hold: 8 in bfloat16, 4 where the stream is float32.
enum { wide = Pack<residual>::count };

template <int width, class T> DEVICE void load_row_piece(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width, class T> DEVICE void store_row_piece(const float *from, T *to) {
    if constexpr (width == 1) to[0] = from_float<T>(from[0]); else store_some<width>(from, to);
}

/// Both passes that make y make it here, in one order of operations: their bits are the same.
DEVICE float normalised(float h, float inverse, float weight, float offset) { return h * inverse * (weight + offset); }

/// y of one piece; h is what `sum` holds, rounded as it is stored.
template <int width> DEVICE void scale_piece(const float *h, float inverse, const float *weight, float offset, element *y) {
    float out[width];
#pragma unroll
    for (int i = 0; i < width; i++) out[i] = normalised(h[i], inverse, weight[i], offset);
    store_row_piece<width>(out, y);
}

/// Calls body(piece k, column) for the pieces of a row that this thread keeps.
template <int width, class Body> DEVICE void each_kept(int columns, Body body) {
#pragma unroll
    for (int k = 0; k < kept / width; k++) {
        const int c = (k * (int)blockDim.x + (int)threadIdx.x) * width;
        if (c < columns) body(k, c);
    }
}
/// Calls body(column) for this thread's other pieces.
template <int width, class Body> DEVICE void each_other(int columns, Body body) {
    for (int c = (kept / width * (int)blockDim.x + (int)threadIdx.x) * width; c < columns; c += (int)blockDim.x * width) body(c);
}

struct RMSNormForward {
    const residual *hidden;
    const residual *delta;  // null: none
    residual *sum;          // null where delta is
    element *y;
    float *inverse;
    const float *weight;
    int rows, columns;
    float epsilon, weight_offset, delta_scale;
};

/// x += scale * delta, rounded as `sum` is: the backward pass normalises what it reads there.
template <int width> DEVICE void add_piece(float *x, const float *delta, float scale, residual *sum) {
#pragma unroll
    for (int i = 0; i < width; i++) x[i] = to_float(from_float<residual>(fmaf(delta[i], scale, x[i])));
    store_row_piece<width>(x, sum);
}

template <int width> DEVICE void forward_row(const RMSNormForward &p, float *scratch) {
    const i64 start = (i64)blockIdx.x * p.columns;
    const residual *hidden = p.hidden + start;
    const residual *delta = p.delta + (p.delta ? start : 0);
    residual *sum = p.sum + (p.delta ? start : 0);
    element *y = p.y + start;
    const int columns = p.columns;
    float h[kept / width][width];
    float squares = 0;
    each_kept<width>(columns, [&](int k, int c) { load_row_piece<width>(hidden + c, h[k]); });
    if (p.delta) {
        float d[kept / width][width];
        each_kept<width>(columns, [&](int k, int c) { load_row_piece<width>(delta + c, d[k]); });
        each_kept<width>(columns, [&](int k, int c) { add_piece<width>(h[k], d[k], p.delta_scale, sum + c); });
    }
    // Loaded before the sum is waited for.
    float w[kept / width][width];
    each_kept<width>(columns, [&](int k, int c) { load_row_piece<width>(p.weight + c, w[k]); });
    each_kept<width>(columns, [&](int k, int) {
#pragma unroll
        for (int i = 0; i < width; i++) squares += h[k][i] * h[k][i];
    });
    each_other<width>(columns, [&](int c) {
        float x[width];
        load_row_piece<width>(hidden + c, x);
        if (p.delta) {
            float d[width];
            load_row_piece<width>(delta + c, d);
            add_piece<width>(x, d, p.delta_scale, sum + c);
        }
#pragma unroll
        for (int i = 0; i < width; i++) squares += x[i] * x[i];
    });
    const float inverse = 1 / sqrtf(block_sum(squares, scratch) / (float)columns + p.epsilon);
    if (threadIdx.x == 0) p.inverse[blockIdx.x] = inverse;
    each_kept<width>(columns, [&](int k, int c) { scale_piece<width>(h[k], inverse, w[k], p.weight_offset, y + c); });
    // Written by this very thread, where there is a sum.
    const residual *normal = p.delta ? sum : hidden;
    each_other<width>(columns, [&](int c) {
        float x[width], v[width];
        load_row_piece<width>(normal + c, x);
        load_row_piece<width>(p.weight + c, v);
        scale_piece<width>(x, inverse, v, p.weight_offset, y + c);
    });
}

KERNEL(512, rmsnorm_forward, RMSNormForward) {
    SHARED float scratch[33];
    if (p.columns % wide == 0 && aligned(p.hidden) && aligned(p.delta) && aligned(p.sum) && aligned(p.y) && aligned(p.weight))
        forward_row<wide>(p, scratch);
    else
        forward_row<1>(p, scratch);
}

struct RMSNormAgain {
    const residual *hidden;
    const float *inverse;
    const float *weight;
    element *y;
    int rows, columns;
    float weight_offset;
};

template <int width> DEVICE void again_row(const RMSNormAgain &p) {
    const i64 start = (i64)blockIdx.x * p.columns;
    const residual *hidden = p.hidden + start;
    const float inverse = p.inverse[blockIdx.x];
    float h[kept / width][width], w[kept / width][width];
    each_kept<width>(p.columns, [&](int k, int c) { load_row_piece<width>(hidden + c, h[k]); });
    each_kept<width>(p.columns, [&](int k, int c) { load_row_piece<width>(p.weight + c, w[k]); });
    each_kept<width>(p.columns, [&](int k, int c) { scale_piece<width>(h[k], inverse, w[k], p.weight_offset, p.y + start + c); });
    each_other<width>(p.columns, [&](int c) {
        float x[width], v[width];
        load_row_piece<width>(hidden + c, x);
        load_row_piece<width>(p.weight + c, v);
        scale_piece<width>(x, inverse, v, p.weight_offset, p.y + start + c);
    });
}

KERNEL(512, rmsnorm_again, RMSNormAgain) {
    if (p.columns % wide == 0 && aligned(p.hidden) && aligned(p.y) && aligned(p.weight))
        again_row<wide>(p);
    else
        again_row<1>(p);
}

struct RMSNormBackward {
    const element *dy;
    const residual *hidden;
    const float *inverse;
    const float *weight;
    const residual *residual_gradient;  // null: none
    residual *dx;
    element *dx_element;      // null, or delta_scale * dx as elements
    int rows, columns;
    float weight_offset, delta_scale;
};

/// g (dy * weight, already), h and, where there is one, the residual gradient become dx.
template <int width>
DEVICE void backward_piece(const RMSNormBackward &p, const float *g, const float *h, const float *more, float inverse, float factor, i64 at) {
    float out[width];
#pragma unroll
    for (int i = 0; i < width; i++) out[i] = g[i] * inverse - h[i] * factor;
    if (p.residual_gradient) {
#pragma unroll
        for (int i = 0; i < width; i++) out[i] += more[i];
    }
    store_row_piece<width>(out, p.dx + at);
    if (p.dx_element) {
#pragma unroll
        for (int i = 0; i < width; i++) out[i] *= p.delta_scale;
        store_row_piece<width>(out, p.dx_element + at);
    }
}

template <int width> DEVICE void load_backward(const RMSNormBackward &p, i64 start, int c, float *g, float *h) {
    float w[width];
    load_row_piece<width>(p.dy + start + c, g);
    load_row_piece<width>(p.hidden + start + c, h);
    load_row_piece<width>(p.weight + c, w);
#pragma unroll
    for (int i = 0; i < width; i++) g[i] *= w[i] + p.weight_offset;
}

template <int width> DEVICE void backward_row(const RMSNormBackward &p, float *scratch) {
    const i64 start = (i64)blockIdx.x * p.columns;
    float g[kept / width][width], h[kept / width][width];
    float products = 0;
    each_kept<width>(p.columns, [&](int k, int c) { load_backward<width>(p, start, c, g[k], h[k]); });
    each_kept<width>(p.columns, [&](int k, int) {
#pragma unroll
        for (int i = 0; i < width; i++) products += g[k][i] * h[k][i];
    });
    each_other<width>(p.columns, [&](int c) {
        float a[width], b[width];
        load_backward<width>(p, start, c, a, b);
#pragma unroll
        for (int i = 0; i < width; i++) products += a[i] * b[i];
    });
    // Loaded before the sum is waited for.
    const float inverse = p.inverse[blockIdx.x];
    float more[kept / width][width];
    if (p.residual_gradient) each_kept<width>(p.columns, [&](int k, int c) { load_row_piece<width>(p.residual_gradient + start + c, more[k]); });
    const float factor = inverse * inverse * inverse * block_sum(products, scratch) / (float)p.columns;
    each_kept<width>(p.columns, [&](int k, int c) { backward_piece<width>(p, g[k], h[k], more[k], inverse, factor, start + c); });
    each_other<width>(p.columns, [&](int c) {
        float a[width], b[width], others[width];
        load_backward<width>(p, start, c, a, b);
        if (p.residual_gradient) load_row_piece<width>(p.residual_gradient + start + c, others);
        backward_piece<width>(p, a, b, others, inverse, factor, start + c);
    });
}

KERNEL(512, rmsnorm_backward, RMSNormBackward) {
    SHARED float scratch[33];
    if (p.columns % wide == 0 && aligned(p.dy) && aligned(p.hidden) && aligned(p.weight) && aligned(p.residual_gradient) && aligned(p.dx)
        && aligned(p.dx_element))
        backward_row<wide>(p, scratch);
    else
        backward_row<1>(p, scratch);
}
