// Softmax and cross-entropy over rows of logits [count, vocabulary]. rows[i] is the row t of the micro-batch that logits row i
// belongs to (below zero: padding); targets, weights, log_probabilities [T].
//
//     z = logits, or cap * tanh(logits / cap) with a soft cap
//     log_probabilities[t] = z[target] - log sum exp z
//     logits = weights[t] * loss_scale * (softmax(z) - onehot(target)) * (1 - (z / cap)²)      with_gradient only
//
// Padding rows, and rows whose target lies outside the vocabulary, become zeros.
//
// A block takes a row, in two passes: the first keeps a running maximum m and sum of e^(z - m) in each thread, rescaling the sum
// whenever the maximum grows; the second writes the gradient over the logits. A row of an odd vocabulary begins anywhere, so each
// row has a head and a tail of single elements around its 16-byte body. The target's gradient is written last, by one thread.
//
// Launch: grid = count, threads a multiple of 32 from 32 to 512 (512 are good).
#include "device.cuh"

struct CrossEntropy {
    element *logits;
    const int *rows;
    const int *targets;
    const float *weights;
    const float *loss_scale;
    float *log_probabilities;
    int count, vocabulary, with_gradient;
    float soft_cap;  // 0: none
};

enum { wide = Pack<element>::count };
const float log2_e = 1.44269504f;
/// Below every logit and finite: -infinity less -infinity would be no number.
const float lowest = -3.402823466e38f;

/// Where a row's 16-byte body begins and ends, in elements.
struct Body { int begin, end; };
DEVICE Body body_of(const element *row, int count) {
    const int misplaced = (int)((u64)row & 15) / (int)sizeof(element);
    int begin = misplaced == 0 ? 0 : wide - misplaced;
    begin = begin < count ? begin : count;
    return {begin, begin + (count - begin) / wide * wide};
}
/// Calls one(i) for each element outside the body, shared among the threads.
template <class One> DEVICE void each_outside(Body body, int count, One one) {
    const int outside = body.begin + count - body.end;
    for (int i = threadIdx.x; i < outside; i += blockDim.x) one(i < body.begin ? i : i - body.begin + body.end);
}
/// Calls pack(i, values) for each 16 bytes of the body, two loaded at a time.
template <class Each> DEVICE void each_pack(const element *row, Body body, Each pack) {
    const int step = (int)blockDim.x * wide;
    int i = body.begin + (int)threadIdx.x * wide;
    for (; i + step < body.end; i += 2 * step) {
        float a[wide], b[wide];
        load_pack(row + i, a);
        load_pack(row + i + step, b);
        pack(i, a);
        pack(i + step, b);
    }
    if (i < body.end) {
        float a[wide];
        load_pack(row + i, a);
        pack(i, a);
    }
}

template <bool capped> DEVICE float soft_capped(float logit, float cap) { return capped ? cap * tanhf(logit / cap) : logit; }
/// e^(z - m); the difference first, since m * log2(e) has an error that grows with m.
DEVICE float exponential(float z, float m) { return exp2_fast((z - m) * log2_e); }

/// A running maximum and the sum of e^(z - maximum). No number (NaN) leaves the maximum alone and makes the sum NaN.
struct Running {
    float maximum, sum;
    DEVICE void reach(Running &r, float z) {
        if (z > r.maximum) {
            r.sum *= exponential(r.maximum, z);
            r.maximum = z;
        }
    }
};

template <bool capped> DEVICE void one_row(const CrossEntropy &p, element *row, int t, int target, float *scratch) {
    const int count = p.vocabulary;
    const float cap = p.soft_cap;
    const Body body = body_of(row, count);
    const float at_target = soft_capped<capped>(to_float(row[target]), cap);
    Running r = {lowest, 0};
    each_pack(row, body, [&](int, float *z) {
        float most = lowest;
#pragma unroll
        for (int k = 0; k < wide; k++) {
            z[k] = soft_capped<capped>(z[k], cap);
            most = z[k] > most ? z[k] : most;
        }
        Running::reach(r, most);
#pragma unroll
        for (int k = 0; k < wide; k++) r.sum += exponential(z[k], r.maximum);
    });
    each_outside(body, count, [&](int i) {
        const float z = soft_capped<capped>(to_float(row[i]), cap);
        Running::reach(r, z);
        r.sum += exponential(z, r.maximum);
    });
    // The barriers inside also part every thread's reading of the target's logit from the writing below.
    const float maximum = block_max(r.maximum, scratch);
    const float sum = block_sum(r.sum * exponential(r.maximum, maximum), scratch);
    if (threadIdx.x == 0) p.log_probabilities[t] = at_target - (maximum + logf(sum));
    if (!p.with_gradient) return;
    const float weight = p.weights[t] * *p.loss_scale;
    const float factor = weight / sum;
    auto gradient = [&](float logit) {
        const float z = soft_capped<capped>(logit, cap);
        const float g = factor * exponential(z, maximum);
        return capped ? g * (1 - (z / cap) * (z / cap)) : g;
    };
    each_pack(row, body, [&](int i, float *z) {
#pragma unroll
        for (int k = 0; k < wide; k++) z[k] = gradient(z[k]);
        store_pack(z, row + i);
    });
    each_outside(body, count, [&](int i) { row[i] = from_float<element>(gradient(to_float(row[i]))); });
    block_barrier();
    if (threadIdx.x == 0) {
        const float slope = capped ? 1 - (at_target / cap) * (at_target / cap) : 1;
        row[target] = from_float<element>(weight * (exponential(at_target, maximum) / sum - 1) * slope);
    }
}

KERNEL(512, cross_entropy, CrossEntropy) {
    SHARED float scratch[33];
    element *row = p.logits + (i64)blockIdx.x * p.vocabulary;
    const int t = p.rows[blockIdx.x];
    const int target = t < 0 ? -1 : p.targets[t];
    if (target < 0 || target >= p.vocabulary) {
        const Body body = body_of(row, p.vocabulary);
        const float zeros[wide] = {};
        for (int i = body.begin + (int)threadIdx.x * wide; i < body.end; i += (int)blockDim.x * wide) store_pack(zeros, row + i);
        each_outside(body, p.vocabulary, [&](int i) { row[i] = from_float<element>(0); });
        if (t >= 0 && threadIdx.x == 0) p.log_probabilities[t] = 0;
        return;
    }
    if (p.soft_cap != 0) one_row<true>(p, row, t, target, scratch); else one_row<false>(p, row, t, target, scratch);
}

struct LargestLogit {
    const float *logits;  // [rows, vocabulary]
    float *largest;       // [rows, parts, 2]
    int vocabulary, parts;
};
/// The largest logit of each part of a row, and its place in the row as a number; the first of equals. NaN and infinities count as infinity. Parts are
/// of ceil(vocabulary / parts) logits.
///
/// Launch: grid = rows * parts, threads a multiple of 32 from 32 to 256.
KERNEL(256, largest_logit, LargestLogit) {
    SHARED float scratch[33];
    const int row = (int)blockIdx.x / p.parts, part = (int)blockIdx.x % p.parts;
    const int each = (p.vocabulary + p.parts - 1) / p.parts;
    const int begin = part * each < p.vocabulary ? part * each : p.vocabulary;
    const int end = begin + each < p.vocabulary ? begin + each : p.vocabulary;
    const float *logits = p.logits + (i64)row * p.vocabulary;
    float most = lowest;
    int place = begin;
#pragma unroll 4
    for (int i = begin + (int)threadIdx.x; i < end; i += (int)blockDim.x) {
        const float logit = logits[i];
        const bool finite = (float_to_bits(logit) & 0x7f800000u) != 0x7f800000u;
        const float z = finite ? logit : bits_to_float(0x7f800000u);
        if (z > most) {
            most = z;
            place = i;
        }
    }
    const float largest = block_max(most, scratch);
    // Places below 2^24 are exact in float32.
    const float first = -block_max(most == largest ? -(float)place : lowest, scratch);
    if (threadIdx.x == 0) {
        p.largest[2 * (i64)blockIdx.x] = largest;
        p.largest[2 * (i64)blockIdx.x + 1] = first;
    }
}

struct SoftCap {
    float *x;
    i64 count;
    float cap;
};
/// x = cap * tanh(x / cap), in place, float32: the logits of decoding. Any grid.
KERNEL(256, soft_cap, SoftCap) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < p.count; i += (i64)gridDim.x * blockDim.x) p.x[i] = p.cap * tanhf(p.x[i] / p.cap);
}
