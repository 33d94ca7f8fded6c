// A weight's type changed while a model is loaded.
//
//     y[i] = x[i] in the wanted type, rounded to nearest even                            x, y [count]
//     *overflow = 1 where that is float16 and x[i] rounds to infinity or is no number; else it stays as it is
//
// `element` is the type of x; `to` is that of y: 0 float32, 1 float16, 2 bfloat16. Eight weights a thread at a time where both addresses
// bear wide accesses.
//
// Launch: grid = count / 8 / threads rounded up, or fewer; threads 256 at most.
#include "device.cuh"

struct Convert {
    const element *x;
    void *y;
    int *overflow;
    i64 count;
    int to;
};

/// The bits of 65520, the least magnitude that rounds to infinity in float16; everything infinite and every NaN is above it.
const u32 least_infinite = 0x477ff000u;

template <class To> DEVICE void convert_all(const Convert &p) {
    To *y = (To *)p.y;
    const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    const i64 pieces = aligned(p.x) && aligned(y) ? p.count / 8 : 0;
    u32 largest = 0;
    for (i64 i = first; i < pieces; i += step) {
        float v[8];
        load_some<8>(p.x + 8 * i, v);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const u32 bits = float_to_bits(v[k]) & 0x7fffffffu;
            largest = bits > largest ? bits : largest;
        }
        store_some<8>(v, y + 8 * i);
    }
    for (i64 i = 8 * pieces + first; i < p.count; i += step) {
        const float v = to_float(p.x[i]);
        const u32 bits = float_to_bits(v) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
        y[i] = from_float<To>(v);
    }
    if (p.to == 1 && largest >= least_infinite) *p.overflow = 1;
}

KERNEL(256, convert, Convert) {
    switch (p.to) {
    case 0: return convert_all<float>(p);
    case 1: return convert_all<f16>(p);
    case 2: return convert_all<bf16>(p);
    }
}
