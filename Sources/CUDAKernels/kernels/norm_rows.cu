// Root-mean-square normalisation of parts of rows, without a residual addition: heads of q and k inside the joint buffer, all of q or k
// at once, and the output of a sublayer. For a row t and each group i of a part (up to two parts, each with a weight of its own):
//
//     x_c = x[t, first + i columns + c],  c < columns      r = 1 / sqrt(mean_c x² + epsilon)      inverse [rows, all groups]
//     y[t, the same column] = x * r * (weight[c] + offset)     kept[t, the same column] = x (optional: what the backward pass reads)
//     dx = r * (g - x r² mean_c(g x)),   g = dy * (weight + offset)
//
// y may be x, dx may be dy. x, y, kept, dy and dx have row strides of their own and the same columns.
//
// A team takes a group of a row: 8, 16 or 32 lanes of a warp, whichever hold it in sixteen elements each or fewer; past 512 columns a
// block. What sixteen elements a thread do not hold is read again. Loads of a group all come before its first store, as in rmsnorm.cu.
//
// In float16 the residual stream is float32: norm_rows_forward_wide has x, y and kept in float32, norm_rows_backward_wide x alone, for
// gradients of what is added to the stream are float16 there.
//
// Launch: threads 128, grid = rows * all groups * lanes / 128 rounded up; lanes 0: grid = rows * all groups, threads a multiple of 32
// from 32 to 512 (good: columns / 16 rounded up to 32).
#include "device.cuh"

/// Elements of a group that a thread keeps.
enum { kept_elements = 16 };

template <class In, class Out> struct NormRows {
    const In *x;
    Out *y;
    In *kept;  // null: none
    float *inverse;
    const float *weight[2];
    int rows, ld, y_ld, kept_ld;
    int groups[2], columns[2], first[2];  // no groups: no second part
    int lanes;
    float epsilon, weight_offset;
};

template <class Gradient, class In, class Out> struct NormRowsBackward {
    const Gradient *dy;
    const In *x;
    const float *inverse;
    Out *dx;
    const float *weight[2];
    int rows, ld, x_ld, dx_ld;
    int groups[2], columns[2], first[2];
    int lanes;
    float weight_offset;
};

template <int width, class T> DEVICE void load_piece(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width, class T> DEVICE void store_piece(const float *from, T *to) {
    if constexpr (width == 1) to[0] = from_float<T>(from[0]); else store_some<width>(from, to);
}

/// A thread's place in its team, and the team's group.
struct Place {
    int lane, lanes;
    i64 unit;  // row * all groups + group
    int row, part, first, columns;  // no columns: behind the last unit
};

template <bool block, class Arguments> DEVICE Place place(const Arguments &p) {
    Place at;
    at.lanes = block ? (int)blockDim.x : p.lanes;
    at.lane = (int)threadIdx.x % at.lanes;
    at.unit = (i64)blockIdx.x * ((int)blockDim.x / at.lanes) + (int)threadIdx.x / at.lanes;
    const int groups = p.groups[0] + p.groups[1];
    at.row = (int)(at.unit / groups);
    int group = (int)(at.unit % groups);
    at.part = group >= p.groups[0];
    if (at.part) group -= p.groups[0];
    at.first = p.first[at.part] + group * p.columns[at.part];
    at.columns = at.row < p.rows ? p.columns[at.part] : 0;
    return at;
}

/// The sum over a team; every thread of a warp calls it.
template <bool block> DEVICE float team_sum(float x, int lanes, float *scratch) {
    if constexpr (block) {
        return block_sum(x, scratch);
    } else {
        for (int mask = lanes / 2; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
        return x;
    }
}

/// Calls body(piece k, column) for the pieces of a group that this thread keeps.
template <int width, class Body> DEVICE void each_kept(const Place &at, Body body) {
#pragma unroll
    for (int k = 0; k < kept_elements / width; k++) {
        const int c = (k * at.lanes + at.lane) * width;
        if (c < at.columns) body(k, c);
    }
}
/// Calls body(column) for this thread's other pieces.
template <int width, class Body> DEVICE void each_other(const Place &at, Body body) {
    for (int c = (kept_elements / width * at.lanes + at.lane) * width; c < at.columns; c += at.lanes * width) body(c);
}

template <int width, bool block, class In, class Out> DEVICE void forward_group(const NormRows<In, Out> &p, float *scratch) {
    const Place at = place<block>(p);
    const In *x = p.x + (i64)at.row * p.ld + at.first;
    In *kept = p.kept + (p.kept ? (i64)at.row * p.kept_ld + at.first : 0);
    Out *y = p.y + (i64)at.row * p.y_ld + at.first;
    const float *weight = p.weight[at.part];
    float h[kept_elements / width][width];
    float squares = 0;
    each_kept<width>(at, [&](int k, int c) { load_piece<width>(x + c, h[k]); });
    each_kept<width>(at, [&](int k, int) {
#pragma unroll
        for (int i = 0; i < width; i++) squares += h[k][i] * h[k][i];
    });
    each_other<width>(at, [&](int c) {
        float v[width];
        load_piece<width>(x + c, v);
#pragma unroll
        for (int i = 0; i < width; i++) squares += v[i] * v[i];
    });
    const float inverse = 1 / sqrtf(team_sum<block>(squares, at.lanes, scratch) / (float)(at.columns > 0 ? at.columns : 1) + p.epsilon);
    if (at.columns == 0) return;
    if (at.lane == 0) p.inverse[at.unit] = inverse;
    auto store = [&](const float *v, int c) {
        float w[width], out[width];
        load_piece<width>(weight + c, w);
#pragma unroll
        for (int i = 0; i < width; i++) out[i] = v[i] * inverse * (w[i] + p.weight_offset);
        if (p.kept) store_piece<width>(v, kept + c);
        store_piece<width>(out, y + c);
    };
    each_kept<width>(at, [&](int k, int c) { store(h[k], c); });
    each_other<width>(at, [&](int c) {
        float v[width];
        load_piece<width>(x + c, v);
        store(v, c);
    });
}

template <int width, bool block, class Gradient, class In, class Out>
DEVICE void backward_group(const NormRowsBackward<Gradient, In, Out> &p, float *scratch) {
    const Place at = place<block>(p);
    const Gradient *dy = p.dy + (i64)at.row * p.ld + at.first;
    const In *x = p.x + (i64)at.row * p.x_ld + at.first;
    Out *dx = p.dx + (i64)at.row * p.dx_ld + at.first;
    const float *weight = p.weight[at.part];
    /// g = dy * weight, and h = x.
    auto load = [&](int c, float *g, float *h) {
        float w[width];
        load_piece<width>(dy + c, g);
        load_piece<width>(x + c, h);
        load_piece<width>(weight + c, w);
#pragma unroll
        for (int i = 0; i < width; i++) g[i] *= w[i] + p.weight_offset;
    };
    float g[kept_elements / width][width], h[kept_elements / width][width];
    float products = 0;
    each_kept<width>(at, [&](int k, int c) { load(c, g[k], h[k]); });
    each_kept<width>(at, [&](int k, int) {
#pragma unroll
        for (int i = 0; i < width; i++) products += g[k][i] * h[k][i];
    });
    each_other<width>(at, [&](int c) {
        float a[width], b[width];
        load(c, a, b);
#pragma unroll
        for (int i = 0; i < width; i++) products += a[i] * b[i];
    });
    const float sum = team_sum<block>(products, at.lanes, scratch);
    if (at.columns == 0) return;
    const float inverse = p.inverse[at.unit], factor = inverse * inverse * inverse * sum / (float)at.columns;
    auto store = [&](const float *a, const float *b, int c) {
        float out[width];
#pragma unroll
        for (int i = 0; i < width; i++) out[i] = a[i] * inverse - b[i] * factor;
        store_piece<width>(out, dx + c);
    };
    each_kept<width>(at, [&](int k, int c) { store(g[k], h[k], c); });
    each_other<width>(at, [&](int c) {
        float a[width], b[width];
        load(c, a, b);
        store(a, b, c);
    });
}

/// Whether columns, first columns and weights of both parts bear accesses of `wide` elements.
template <int wide, class Arguments> DEVICE bool parts_bear(const Arguments &p) {
    const bool second = p.groups[1] == 0 || (p.columns[1] % wide == 0 && p.first[1] % wide == 0 && aligned(p.weight[1]));
    return second && p.columns[0] % wide == 0 && p.first[0] % wide == 0 && aligned(p.weight[0]);
}

template <class In, class Out> DEVICE void forward_rows(const NormRows<In, Out> &p) {
    SHARED float scratch[33];
    // Sixteen bytes of the larger type.
    enum { wide = 16 / (sizeof(In) > sizeof(Out) ? sizeof(In) : sizeof(Out)) };
    const bool strides = p.ld % wide == 0 && p.y_ld % wide == 0 && (!p.kept || p.kept_ld % wide == 0);
    if (parts_bear<wide>(p) && strides && aligned(p.x) && aligned(p.y) && aligned(p.kept)) {
        if (p.lanes) forward_group<wide, false>(p, scratch); else forward_group<wide, true>(p, scratch);
    } else {
        if (p.lanes) forward_group<1, false>(p, scratch); else forward_group<1, true>(p, scratch);
    }
}

template <class Gradient, class In, class Out> DEVICE void backward_rows(const NormRowsBackward<Gradient, In, Out> &p) {
    SHARED float scratch[33];
    enum { wide = 16 / (sizeof(In) > sizeof(Gradient) ? sizeof(In) : sizeof(Gradient)) };
    if (parts_bear<wide>(p) && p.ld % wide == 0 && p.x_ld % wide == 0 && p.dx_ld % wide == 0 && aligned(p.dy) && aligned(p.x) && aligned(p.dx)) {
        if (p.lanes) backward_group<wide, false>(p, scratch); else backward_group<wide, true>(p, scratch);
    } else {
        if (p.lanes) backward_group<1, false>(p, scratch); else backward_group<1, true>(p, scratch);
    }
}

typedef NormRows<element, element> NormRowsForwardArguments;
KERNEL(512, norm_rows_forward, NormRowsForwardArguments) { forward_rows(p); }
typedef NormRowsBackward<element, element, element> NormRowsBackwardArguments;
KERNEL(512, norm_rows_backward, NormRowsBackwardArguments) { backward_rows(p); }

#if TYPE == 1
typedef NormRows<residual, residual> NormRowsForwardWideArguments;
KERNEL(512, norm_rows_forward_wide, NormRowsForwardWideArguments) { forward_rows(p); }
typedef NormRowsBackward<element, residual, element> NormRowsBackwardWideArguments;
KERNEL(512, norm_rows_backward_wide, NormRowsBackwardWideArguments) { backward_rows(p); }
#endif
