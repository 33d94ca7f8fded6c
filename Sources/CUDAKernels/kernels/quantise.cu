// NF4 with double quantisation made on the device, with the bits of NF4Store.quantise (and so of bitsandbytes).
//
//     maxima[b]        = max |x| over the 64 weights of block b of the flattened matrix (the last block may be short)
//     code[i]          = number of midpoints between neighbouring NF4 values below x[i] * (1 / max(maxima[b], 1e-38));
//                        in a short last block x[i] / max(maxima[b], 1e-38), its bounded maximum is the one stored, and an odd
//                        end is filled with the code of zero
//     nested_maxima[n] = max |maxima[b] - offset| over the 256 block maxima of n
//     maxima's code    = by its place on a grid of 65,536 points over [-1, 1]: the number of midpoints between neighbouring nested
//                        values below that point
//
// A thread takes eight weights and writes their eight codes as one word; eight lanes make a block and find its maximum by three
// shuffles. Maxima are compared by their bits, so that a NaN counts as the largest: the host refuses a matrix whose maxima are not
// all finite. Every product, sum and quotient is rounded on its own. The grid of the second quantisation is not stored: the point
// is computed and sought among the midpoints.
//
// Launch: quantise_nf4: grid = count / 8 / threads rounded up, or fewer; threads 256 at most, a multiple of 32.
//         quantise_maxima (count = the number of block maxima): grid = count / 256 rounded up, 256 threads.
#include "device.cuh"

struct QuantiseNF4 {
    const element *x;
    u8 *codes;
    float *maxima;
    i64 count;
};

/// Keeps the reciprocal finite, as bitsandbytes does; a block of zeros gets the code of zero.
const float smallest_maximum = 1e-38f;

/// Midpoints below a scaled weight. The midpoints are those of float32 numbers, rounded to float32.
DEVICE u32 nf4_code(float scaled) {
    constexpr float values[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                                  -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                                  0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                                  0.7229568362236023f, 1.0f};
    u32 code = 0;
#pragma unroll
    for (int i = 0; i < 15; i++) code += scaled > (values[i] + values[i + 1]) / 2 ? 1 : 0;
    return code;
}

KERNEL(256, quantise_nf4, QuantiseNF4) {
    const int lane = threadIdx.x % 32;
    const i64 warp = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, warps = (i64)gridDim.x * (blockDim.x / 32);
    const bool packed = aligned(p.x), words = ((u64)p.codes & 3) == 0;
    for (i64 start = warp * 256; start < p.count; start += warps * 256) {
        const i64 at = start + 8 * lane, block = at / 64;
        const bool whole = at + 8 <= p.count, short_block = block * 64 + 64 > p.count;
        float x[8];
        if (whole && packed) {
            load_some<8>(p.x + at, x);
        } else {
#pragma unroll
            for (int i = 0; i < 8; i++) x[i] = at + i < p.count ? to_float(p.x[at + i]) : 0;
        }
        u32 largest = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const u32 bits = float_to_bits(x[i]) & 0x7fffffffu;
            largest = bits > largest ? bits : largest;
        }
#pragma unroll
        for (int mask = 1; mask < 8; mask *= 2) {
            const u32 other = float_to_bits(shuffle_xor(bits_to_float(largest), mask));
            largest = other > largest ? other : largest;
        }
        const float maximum = bits_to_float(largest);
        const float bounded = maximum > smallest_maximum ? maximum : smallest_maximum;
        if (at >= p.count) continue;
        if (lane % 8 == 0) p.maxima[block] = short_block && maximum < smallest_maximum ? smallest_maximum : maximum;
        const float reciprocal = div_rn(1, bounded);
        u32 word = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float scaled = short_block ? div_rn(x[i], bounded) : mul_rn(x[i], reciprocal);
            word |= nf4_code(scaled) << (i / 2 * 8 + (i % 2 == 0 ? 4 : 0));
        }
        if (whole && words) {
            *(u32 *)(p.codes + at / 2) = word;
        } else {
            // What lies past the end was read as zero, whose code fills an odd end.
            for (int i = 0; i < 4; i++)
                if (at + 2 * i < p.count) p.codes[at / 2 + i] = (u8)(word >> 8 * i);
        }
    }
}

struct QuantiseMaxima {
    const float *maxima;
    u8 *codes;
    float *nested_maxima;
    const float *nested_values;  // [256], rising
    const float *offset;
    i64 count;
};

KERNEL(256, quantise_maxima, QuantiseMaxima) {
    SHARED float scratch[33];
    SHARED float midpoints[256];
    const i64 b = (i64)blockIdx.x * 256 + threadIdx.x;
    if (threadIdx.x < 255)
        midpoints[threadIdx.x] = mul_rn(0.5f, add_rn(p.nested_values[threadIdx.x], p.nested_values[threadIdx.x + 1]));
    const float less = b < p.count ? add_rn(p.maxima[b], -*p.offset) : 0;
    const float largest = block_max(fabsf(less), scratch);
    if (threadIdx.x == 0) {
        // A matrix's parts may stand one behind the other, at any address.
        const u32 bits = float_to_bits(largest);
        u8 *to = (u8 *)(p.nested_maxima + blockIdx.x);
        if (((u64)to & 3) == 0) {
            *(float *)to = largest;
        } else {
            for (int i = 0; i < 4; i++) to[i] = (u8)(bits >> 8 * i);
        }
    }
    if (b >= p.count) return;
    int code = 0;
    if (largest > 0) {
        // A reciprocal of a subnormal is infinite: 0 * infinity is no number, and counts as zero here.
        const float scaled = mul_rn(less, div_rn(1, largest));
        float value = scaled > -1 ? scaled : -1;
        value = value < 1 ? value : 1;
        if (scaled != scaled) value = 0;
        const int point = (int)add_rn(mul_rn(mul_rn(add_rn(value, 1), 0.5f), 65535), 0.5f);
        const float place = add_rn(-1, div_rn(2 * (float)point, 65535));
        // The first midpoint that is not below the place; 255 where all are.
#pragma unroll
        for (int step = 128; step > 0; step /= 2)
            if (midpoints[code + step - 1] < place) code += step;
    }
    p.codes[b] = (u8)code;
}
