// The residual stream, added to and scaled where no norm does it (rmsnorm.cu).
//
//     residual_add:   sum[i] = hidden[i] + scale * delta[i]     hidden, sum of the stream's type, delta too; sum may be hidden
//     residual_add_narrow: the same with delta of the activations' type, which differs in float16 alone
//     element_add:    the same of gradients that are all of the activations' type, where that differs
//     residual_scale: y[i] = scale * x[i]                       x of the stream's type, y of the activations': delta's gradient
//
// Eight numbers a thread and step. Launch: grid.x = count / (8 * threads) rounded up, or fewer; threads 256 at most.
#include "device.cuh"

template <class Sum, class Delta> struct ResidualAdd {
    const Sum *hidden;
    const Delta *delta;
    Sum *sum;
    i64 count;
    float scale;
};

template <class Sum, class Delta> DEVICE void add(const ResidualAdd<Sum, Delta> &p) {
    const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    const i64 pieces = aligned(p.hidden) && aligned(p.delta) && aligned(p.sum) ? p.count / 8 : 0;
    for (i64 i = first; i < pieces; i += step) {
        float a[8], b[8];
        load_some<8>(p.hidden + 8 * i, a);
        load_some<8>(p.delta + 8 * i, b);
#pragma unroll
        for (int k = 0; k < 8; k++) a[k] = fmaf(b[k], p.scale, a[k]);
        store_some<8>(a, p.sum + 8 * i);
    }
    for (i64 i = 8 * pieces + first; i < p.count; i += step)
        p.sum[i] = from_float<Sum>(fmaf(to_float(p.delta[i]), p.scale, to_float(p.hidden[i])));
}

typedef ResidualAdd<residual, residual> AddResiduals;
typedef ResidualAdd<residual, element> AddElement;
typedef ResidualAdd<element, element> AddElements;

KERNEL(256, residual_add, AddResiduals) { add(p); }
#if TYPE == 1
KERNEL(256, residual_add_narrow, AddElement) { add(p); }
KERNEL(256, element_add, AddElements) { add(p); }
#endif

struct ResidualScale {
    const residual *x;
    element *y;
    i64 count;
    float scale;
};

KERNEL(256, residual_scale, ResidualScale) {
    const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    const i64 pieces = aligned(p.x) && aligned(p.y) ? p.count / 8 : 0;
    for (i64 i = first; i < pieces; i += step) {
        float a[8];
        load_some<8>(p.x + 8 * i, a);
#pragma unroll
        for (int k = 0; k < 8; k++) a[k] *= p.scale;
        store_some<8>(a, p.y + 8 * i);
    }
    for (i64 i = 8 * pieces + first; i < p.count; i += step) p.y[i] = from_float<element>(to_float(p.x[i]) * p.scale);
}
