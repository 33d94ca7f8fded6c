// The largest magnitude of `count` elements, NaN counted as infinity: what float16 is asked about before it trains.
//
//     partial[block] = max |x[i]| over the block's share of x
//
// A look at a value costs one read of it; the host takes the largest of the blocks'.
//
// Launch: any grid, 256 threads.
#include "device.cuh"

struct LargestMagnitude {
    const element *x;
    float *partial;  // [grid]
    i64 count;
};

KERNEL(256, largest_magnitude, LargestMagnitude) {
    SHARED float scratch[33];
    float largest = 0;
    for (i64 i = (i64)blockIdx.x * 256 + threadIdx.x; i < p.count; i += (i64)gridDim.x * 256) {
        const u32 bits = float_to_bits(to_float(p.x[i])) & 0x7fffffffu;
        // Exponent all ones: infinity or NaN.
        const float magnitude = bits_to_float(bits >= 0x7f800000u ? 0x7f800000u : bits);
        if (magnitude > largest) largest = magnitude;
    }
    largest = block_max(largest, scratch);
    if (threadIdx.x == 0) p.partial[blockIdx.x] = largest;
}
