// Sums and conversions of whole activations [rows, columns], contiguous:
//
//     add_elements:        out = a + b      all of the activations' type
//     add_residuals:       out = a + b      all of the residual stream's type
//     add_to_residual:     out = a + b      a and out of the residual stream's type, b of the activations'
//     residual_to_element: out = x          rounded to the activations' type
//
// Sums are formed in float32 and rounded once. A thread takes 16 bytes' worth of elements at a time.
//
// Launch: grid.x = columns / (16 bytes' worth of elements) / threads rounded up, grid.y = min(rows, 65535), threads 256 at most
//         (128 are good). Any grid is right: the kernels step over what it does not cover.
#include "device.cuh"

struct AddArguments {
    const void *a;
    const void *b;
    void *out;
    int rows, columns;
};

template <int width, class T> DEVICE void load_of(const T *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width, class T> DEVICE void store_of(const float *from, T *to) {
    if constexpr (width == 1) to[0] = from_float<T>(from[0]); else store_some<width>(from, to);
}

/// Calls body(index) for every `width` elements of this thread.
template <int width, class Body> DEVICE void each_piece(int rows, int columns, Body body) {
    const int pieces = columns / width, step = (int)(gridDim.x * blockDim.x);
    for (int row = blockIdx.y; row < rows; row += gridDim.y)
        for (int piece = (int)(blockIdx.x * blockDim.x + threadIdx.x); piece < pieces; piece += step) body((i64)row * columns + (i64)piece * width);
}

template <int width, class Sum, class Term> DEVICE void add_pieces(const AddArguments &p) {
    const Sum *a = (const Sum *)p.a;
    const Term *b = (const Term *)p.b;
    Sum *out = (Sum *)p.out;
    each_piece<width>(p.rows, p.columns, [&](i64 at) {
        float x[width], y[width];
        load_of<width>(a + at, x);
        load_of<width>(b + at, y);
#pragma unroll
        for (int i = 0; i < width; i++) x[i] += y[i];
        store_of<width>(x, out + at);
    });
}

template <class Sum, class Term> DEVICE void add(const AddArguments &p) {
    // As many as 16 bytes hold of the wider type.
    enum { wide = Pack<Sum>::count };
    if (p.columns % wide == 0 && aligned(p.a) && aligned(p.b) && aligned(p.out))
        add_pieces<wide, Sum, Term>(p);
    else
        add_pieces<1, Sum, Term>(p);
}

KERNEL(256, add_elements, AddArguments) { add<element, element>(p); }
KERNEL(256, add_residuals, AddArguments) { add<residual, residual>(p); }
KERNEL(256, add_to_residual, AddArguments) { add<residual, element>(p); }

struct ResidualToElement {
    const residual *x;
    element *out;
    int rows, columns;
};

KERNEL(256, residual_to_element, ResidualToElement) {
    enum { wide = Pack<residual>::count };
    const bool whole = p.columns % wide == 0 && aligned(p.x) && aligned(p.out);
    if (whole)
        each_piece<wide>(p.rows, p.columns, [&](i64 at) {
            float x[wide];
            load_of<wide>(p.x + at, x);
            store_of<wide>(x, p.out + at);
        });
    else
        each_piece<1>(p.rows, p.columns, [&](i64 at) { p.out[at] = from_float<element>(to_float(p.x[at])); });
}
