// Clipping and one AdamW step over the flat float32 buffers of `count` parameters.
//
//     sum = sum g²                            in float64 over blocks of 4,096, then over the blocks: always the same bits
//     norm = sqrt(sum) / loss_scale,   g = gradient / loss_scale * min(1, max_grad_norm / (norm + 1e-6))
//     m = beta1 m + (1 - beta1) g,     v = beta2 v + (1 - beta2) g²
//     p = p * (1 - lr decay) - lr / correction1 * m / (sqrt(v) / correction2 + epsilon)
//
// A sum that is not finite leaves everything as it is: the host lowers the loss scale. Nothing goes back to the host in between;
// the clipping factor is formed on the device, once a block.
//
// Launch: sum_of_squares: grid = count / 4096 rounded up, 256 threads. sum_partials: grid 1, 256 threads.
//         loss_scale: grid 1, 32 threads.
//         adamw: grid = count / (4 * threads) rounded up, or fewer (8 blocks a multiprocessor are good), 256 threads at most.
#include "device.cuh"

/// Sum over a block of 256 threads, in thread 0, in an order of its own: by halves.
DEVICE double sum_of_256(double x, double *scratch) {
    scratch[threadIdx.x] = x;
    block_barrier();
    for (int half = 128; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        block_barrier();
    }
    return scratch[0];
}

struct SumOfSquares {
    const float *x;
    double *partial;  // [grid]
    i64 count;
};

KERNEL(256, sum_of_squares, SumOfSquares) {
    SHARED double scratch[256];
    const i64 start = (i64)blockIdx.x * 4096;
    float x[16];
    const bool whole = start + 4096 <= p.count && aligned(p.x);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const i64 at = start + k * 1024 + 4 * (int)threadIdx.x;
        if (whole) {
            load_pack(p.x + at, x + 4 * k);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) x[4 * k + i] = at + i < p.count ? p.x[at + i] : 0;
        }
    }
    double sum = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) sum += (double)x[i] * (double)x[i];
    sum = sum_of_256(sum, scratch);
    if (threadIdx.x == 0) p.partial[blockIdx.x] = sum;
}

struct SumPartials {
    const double *partial;
    double *out;
    int count;
};

KERNEL(256, sum_partials, SumPartials) {
    SHARED double scratch[256];
    double sum = 0;
    for (int i = threadIdx.x; i < p.count; i += 256) sum += p.partial[i];
    sum = sum_of_256(sum, scratch);
    if (threadIdx.x == 0) p.out[0] = sum;
}

struct AdamW {
    float *values;
    const float *gradients;
    float *first;
    float *second;
    const double *sum_of_squares;
    float *state;           // [0] norm, [1] 1 where skipped
    const double *numbers;  // lr / correction1, 1 / correction2, 1 - lr * decay, max_grad_norm or 0, 1 / loss_scale
    i64 count;
    float beta1, beta2;
    float new1, new2;  // 1 - beta1, 1 - beta2, formed in float64: what is left of a rounded beta is off by 1e-5 of it, or 0
    float epsilon;
};

/// What is the same for all parameters.
struct Step {
    float rate, root, keep, scale, beta1, beta2, new1, new2, epsilon;
};

DEVICE void update(const Step &s, float gradient, float &value, float &m, float &v) {
    const float g = gradient * s.scale;
    m = m * s.beta1 + g * s.new1;
    v = v * s.beta2 + g * g * s.new2;
    value = value * s.keep - s.rate * m / (sqrtf(v) * s.root + s.epsilon);
}

KERNEL(256, adamw, AdamW) {
    SHARED Step step;
    SHARED int skipped;
    if (threadIdx.x == 0) {
        const double sum = *p.sum_of_squares;
        const bool finite = sum <= 1.7976931348623157e308;
        const double norm = sqrt(sum) * p.numbers[4];
        const double most = p.numbers[3];
        double clip = 1;
        if (most > 0 && most < norm + 1e-6) clip = most / (norm + 1e-6);
        step = {(float)p.numbers[0], (float)p.numbers[1], (float)p.numbers[2], (float)(clip * p.numbers[4]), p.beta1, p.beta2, p.new1, p.new2,
                p.epsilon};
        skipped = !finite;
        if (blockIdx.x == 0) {
            p.state[0] = (float)norm;
            p.state[1] = finite ? 0 : 1;
        }
    }
    block_barrier();
    if (skipped) return;
    const Step s = step;
    const i64 thread = (i64)blockIdx.x * blockDim.x + threadIdx.x, all = (i64)gridDim.x * blockDim.x;
    const i64 packs = aligned(p.values) && aligned(p.gradients) && aligned(p.first) && aligned(p.second) ? p.count / 4 : 0;
    for (i64 i = thread; i < packs; i += all) {
        float value[4], g[4], m[4], v[4];
        load_pack(p.gradients + 4 * i, g);
        load_pack(p.values + 4 * i, value);
        load_pack(p.first + 4 * i, m);
        load_pack(p.second + 4 * i, v);
#pragma unroll
        for (int k = 0; k < 4; k++) update(s, g[k], value[k], m[k], v[k]);
        store_pack(m, p.first + 4 * i);
        store_pack(v, p.second + 4 * i);
        store_pack(value, p.values + 4 * i);
    }
    for (i64 i = 4 * packs + thread; i < p.count; i += all) update(s, p.gradients[i], p.values[i], p.first[i], p.second[i]);
}

struct LossScale {
    float *state;  // scale, good steps, updates, norm, 1 where skipped
    int dynamic, patience;
    float smallest, largest;
};

/// Counts the update; where the scale is dynamic, half of it after a step that overflowed, double after `patience` good ones.
KERNEL(32, loss_scale, LossScale) {
    if (threadIdx.x != 0) return;
    float *s = p.state;
    const bool skipped = s[4] != 0;
    if (!skipped) s[2] += 1;
    if (!p.dynamic) return;
    s[1] = skipped ? 0 : s[1] + 1;
    if (skipped) {
        s[0] = s[0] / 2 > p.smallest ? s[0] / 2 : p.smallest;
    } else if (s[1] == (float)p.patience) {
        s[0] = s[0] * 2 < p.largest ? s[0] * 2 : p.largest;
        s[1] = 0;
    }
}
