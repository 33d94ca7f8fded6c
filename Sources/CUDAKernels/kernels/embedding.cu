// Rows picked, put back and copied; a bias; conversions.
//
//     embedding_forward: out[t] = scale * table[ids[t]]      table [vocabulary, columns], out [rows, columns]; zeros for an id outside
//     gather_rows:       out[i] = x[rows[i]]                 out [count, columns]; zeros where rows[i] < 0
//     scatter_rows:      out[rows[i]] = x[i]                 x [count, columns]; skipped where rows[i] < 0; no row twice
//     bias_add:          y[t * ld + c] += bias[c]            y [rows, ld], columns <= ld
//     to_element, from_element: y[i] = x[i], float32 to element and back
//
// Nothing is computed here worth speaking of: all of them move 16 bytes an access, neighbouring threads neighbouring ones.
//
// Launch: all but the conversions: grid.x = columns / (16 bytes' worth of elements) / threads rounded up, grid.y = min(rows or
// count, 65535), threads 256 at most (128 are good). to_element, from_element: grid.x = count / (8 * threads) rounded up, or fewer.
// Any grid is right: the kernels step over what it does not cover.
#include "device.cuh"

template <int width, class T> DEVICE void load_piece(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width, class T> DEVICE void store_piece(const float *from, T *to) {
    if constexpr (width == 1) to[0] = from_float<T>(from[0]); else store_some<width>(from, to);
}

/// Calls body(row, column) for this thread's pieces of `width` columns.
template <int width, class Body> DEVICE void each_piece(int rows, int columns, Body body) {
    const int first = (int)(blockIdx.x * blockDim.x + threadIdx.x) * width, step = (int)(gridDim.x * blockDim.x) * width;
    for (int row = blockIdx.y; row < rows; row += gridDim.y)
        for (int c = first; c < columns; c += step) body(row, c);
}

struct EmbeddingForward {
    const int *ids;
    const element *table;
    residual *out;
    int rows, columns, vocabulary;
    float scale;
};

template <int width> DEVICE void embed(const EmbeddingForward &p) {
    each_piece<width>(p.rows, p.columns, [&](int row, int c) {
        const int id = p.ids[row];
        float x[width];
        if (id >= 0 && id < p.vocabulary) {
            load_piece<width>(p.table + (i64)id * p.columns + c, x);
        } else {
#pragma unroll
            for (int i = 0; i < width; i++) x[i] = 0;
        }
#pragma unroll
        for (int i = 0; i < width; i++) x[i] *= p.scale;
        store_piece<width>(x, p.out + (i64)row * p.columns + c);
    });
}

KERNEL(256, embedding_forward, EmbeddingForward) {
    enum { wide = Pack<element>::count };
    if (p.columns % wide == 0 && aligned(p.table) && aligned(p.out)) embed<wide>(p); else embed<1>(p);
}

struct MoveRows {
    const element *x;
    const int *rows;
    element *out;
    int count, columns;
};

template <class Unit> DEVICE void gather(const Unit *x, const int *rows, Unit *out, int count, int columns, Unit zero) {
    each_piece<1>(count, columns, [&](int i, int c) {
        const int row = rows[i];
        out[(i64)i * columns + c] = row < 0 ? zero : x[(i64)row * columns + c];
    });
}
template <class Unit> DEVICE void scatter(const Unit *x, const int *rows, Unit *out, int count, int columns) {
    each_piece<1>(count, columns, [&](int i, int c) {
        const int row = rows[i];
        if (row >= 0) out[(i64)row * columns + c] = x[(i64)i * columns + c];
    });
}

KERNEL(256, gather_rows, MoveRows) {
    enum { wide = Pack<element>::count };
    if (p.columns % wide == 0 && aligned(p.x) && aligned(p.out))
        gather((const uint4 *)p.x, p.rows, (uint4 *)p.out, p.count, p.columns / wide, make_uint4(0, 0, 0, 0));
    else
        gather(p.x, p.rows, p.out, p.count, p.columns, from_float<element>(0));
}

KERNEL(256, scatter_rows, MoveRows) {
    enum { wide = Pack<element>::count };
    if (p.columns % wide == 0 && aligned(p.x) && aligned(p.out))
        scatter((const uint4 *)p.x, p.rows, (uint4 *)p.out, p.count, p.columns / wide);
    else
        scatter(p.x, p.rows, p.out, p.count, p.columns);
}

struct BiasAdd {
    element *y;
    const float *bias;
    int rows, columns, ld;
};

template <int width> DEVICE void add_bias(const BiasAdd &p) {
    each_piece<width>(p.rows, p.columns, [&](int row, int c) {
        element *y = p.y + (i64)row * p.ld + c;
        float x[width], b[width];
        load_piece<width>(y, x);
        load_piece<width>(p.bias + c, b);
#pragma unroll
        for (int i = 0; i < width; i++) x[i] += b[i];
        store_piece<width>(x, y);
    });
}

KERNEL(256, bias_add, BiasAdd) {
    enum { wide = Pack<element>::count };
    if (p.columns % wide == 0 && p.ld % wide == 0 && aligned(p.y) && aligned(p.bias)) add_bias<wide>(p); else add_bias<1>(p);
}

/// y[i] = x[i], eight a thread.
template <class From, class To> DEVICE void convert(const From *x, To *y, i64 count) {
    const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    const i64 pieces = aligned(x) && aligned(y) ? count / 8 : 0;
    for (i64 i = first; i < pieces; i += step) {
        float v[8];
        load_some<8>(x + 8 * i, v);
        store_some<8>(v, y + 8 * i);
    }
    for (i64 i = 8 * pieces + first; i < count; i += step) y[i] = from_float<To>(to_float(x[i]));
}

struct ToElement {
    const float *x;
    element *y;
    i64 count;
};
KERNEL(256, to_element, ToElement) { convert(p.x, p.y, p.count); }

struct FromElement {
    const element *x;
    float *y;
    i64 count;
};
KERNEL(256, from_element, FromElement) { convert(p.x, p.y, p.count); }
