// f(gate) * up over the halves of joint rows. gate_up [rows, 2 columns], out [rows, columns].
//
//     out = f(gate) * up,   dgate = dout * up * f'(gate),   dup = dout * f(gate)
//
// Every thread reads its 16 bytes of each half and writes them: the backward pass may write over gate_up.
//
// lora_gated_*: the same where adapters' second product is still to be added to gate_up (see device.cuh; first and end are columns of
// gate_up): it is formed on the way, twice rather than written once. columns a multiple of 32, gate_up's rows at multiples of 16 bytes.
// Backwards d_out may want an adapter's part too: d_out[t, c] += sum_k d_product[t, k] a[k, c], d_rank a multiple of 8, 16 at most.
//
// Launch: grid.x = columns / (16 bytes' worth of elements) / threads, rounded up; grid.y = min(rows, 65535); threads 256 at most
// (128 or 256 are good). Any grid is right: the kernels step over what it does not cover.
//         lora_gated_*: grid (columns / 128 rounded up, rows / 128 rounded up), threads 128; compiled with -DSTEPS = ranks / 16 rounded up.
//         The others: -DSTEPS=0, which leaves lora_gated_* out: they take seconds to compile.
#include "device.cuh"

enum Kind { silu = 0, gelu_tanh = 1, gelu_erf = 2 };

/// f(x), and its slope where asked for.
template <int kind> DEVICE float activated(float x, float *slope) {
    if constexpr (kind == silu) {
#if TYPE == 0
        const float s = 1 / (1 + expf(-x));
#else
        // Far below what 16 bits hold, and a third of the instructions: these kernels would wait for them, not for memory.
        const float s = reciprocal_fast(1 + exp2_fast(-1.4426950408889634f * x));
#endif
        if (slope) *slope = s * (1 + x * (1 - s));
        return x * s;
    } else if constexpr (kind == gelu_tanh) {
        // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))
        const float k = 0.79788456f;
        const float t = tanhf(k * (x + 0.044715f * (x * x * x)));
        const float half = 0.5f * (1 + t);
        if (slope) *slope = half + 0.5f * x * (1 - t * t) * (k + 3 * 0.044715f * k * (x * x));
        return x * half;
    } else {
        // 0.5 x (1 + erf(x / sqrt 2))
        const float half = 0.5f * (1 + erff(x * 0.70710677f));
        if (slope) *slope = half + x * 0.39894228f * expf(-0.5f * x * x);
        return x * half;
    }
}

template <int width> DEVICE void load_piece(const element *from, float *to) {
    if constexpr (width == 1) to[0] = to_float(from[0]); else load_some<width>(from, to);
}
template <int width> DEVICE void store_piece(const float *from, element *to) {
    if constexpr (width == 1) to[0] = from_float<element>(from[0]); else store_some<width>(from, to);
}

/// Calls body(row, column) for this thread's pieces of `width` columns.
template <int width, class Body> DEVICE void each_piece(int rows, int columns, Body body) {
    const int first = (int)(blockIdx.x * blockDim.x + threadIdx.x) * width, step = (int)(gridDim.x * blockDim.x) * width;
    for (int row = blockIdx.y; row < rows; row += gridDim.y)
        for (int c = first; c < columns; c += step) body(row, c);
}

#if !defined(STEPS) || STEPS == 0

struct GatedActivationForward {
    const element *gate_up;
    element *out;
    int rows, columns, kind;
};

template <int kind, int width> DEVICE void forward(const GatedActivationForward &p) {
    each_piece<width>(p.rows, p.columns, [&](int row, int c) {
        const element *gate = p.gate_up + (i64)row * 2 * p.columns + c;
        float g[width], u[width];
        load_piece<width>(gate, g);
        load_piece<width>(gate + p.columns, u);
#pragma unroll
        for (int i = 0; i < width; i++) u[i] *= activated<kind>(g[i], nullptr);
        store_piece<width>(u, p.out + (i64)row * p.columns + c);
    });
}
template <int width> DEVICE void forward_of_kind(const GatedActivationForward &p) {
    switch (p.kind) {
    case silu: return forward<silu, width>(p);
    case gelu_tanh: return forward<gelu_tanh, width>(p);
    default: return forward<gelu_erf, width>(p);
    }
}

KERNEL(256, gated_activation_forward, GatedActivationForward) {
    if (p.columns % Pack<element>::count == 0 && aligned(p.gate_up) && aligned(p.out))
        forward_of_kind<Pack<element>::count>(p);
    else
        forward_of_kind<1>(p);
}

struct GatedActivationBackward {
    const element *d_out;
    const element *gate_up;
    element *d_gate_up;
    int rows, columns, kind;
};

template <int kind, int width> DEVICE void backward(const GatedActivationBackward &p) {
    each_piece<width>(p.rows, p.columns, [&](int row, int c) {
        const i64 at = (i64)row * 2 * p.columns + c;
        float g[width], u[width], d[width];
        load_piece<width>(p.gate_up + at, g);
        load_piece<width>(p.gate_up + at + p.columns, u);
        load_piece<width>(p.d_out + (i64)row * p.columns + c, d);
#pragma unroll
        for (int i = 0; i < width; i++) {
            float slope;
            const float f = activated<kind>(g[i], &slope);
            g[i] = d[i] * u[i] * slope;
            u[i] = d[i] * f;
        }
        store_piece<width>(g, p.d_gate_up + at);
        store_piece<width>(u, p.d_gate_up + at + p.columns);
    });
}
template <int width> DEVICE void backward_of_kind(const GatedActivationBackward &p) {
    switch (p.kind) {
    case silu: return backward<silu, width>(p);
    case gelu_tanh: return backward<gelu_tanh, width>(p);
    default: return backward<gelu_erf, width>(p);
    }
}

KERNEL(256, gated_activation_backward, GatedActivationBackward) {
    if (p.columns % Pack<element>::count == 0 && aligned(p.d_out) && aligned(p.gate_up) && aligned(p.d_gate_up))
        backward_of_kind<Pack<element>::count>(p);
    else
        backward_of_kind<1>(p);
}

#endif

// ---- with adapters on gate or up ----

#if TYPE != 0 && (!defined(STEPS) || STEPS > 0)

struct LoRAGated {
    const element *gate_up;
    const element *d_out;  // null forward
    element *out;          // out [rows, columns], or d_gate_up [rows, 2 columns]
    const element *product;
    const element *b[4];
    const element *d_product;  // [rows, d_rank]; null: d_out is whole
    const element *a;          // [d_rank, columns]
    int rows, columns, kind, ranks, rank, first[4], end[4];
    float scale;
    int d_rank;
};

/// a's fragments for the left half of a unit; nothing for the right one.
DEVICE void load_factor(const LoRAGated &p, u32 (*b)[2], int left) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const element *from = p.a + (i64)(8 * h + 2 * t) * p.columns + left + g / 2 * 8 + j;
            b[j][h] = g % 2 == 0 && p.d_product && 8 * h < p.d_rank ? (u32)from[0].bits | (u32)from[p.columns].bits << 16 : 0;
        }
}
DEVICE void load_d_product(const LoRAGated &p, int row, int end, u32 *a) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = row + g + i % 2 * 8, k = i / 2 * 8;
        a[i] = p.d_product && r < end && k < p.d_rank ? *(const u32 *)(p.d_product + (i64)r * p.d_rank + k + 2 * t) : 0;
    }
}

template <int kind, bool backwards, int steps> DEVICE void gated_unit(const LoRAGated &p) {
    const int left = (blockIdx.x * 4 + threadIdx.x / 32) * 32, right = p.columns + left;
    if (left >= p.columns) return;
    u32 b[steps][8][2];
    load_update<steps>(p, b, left, right);
    u32 factor[1][8][2];
    if (backwards) load_factor(p, factor[0], left);
    const int g = threadIdx.x % 32 / 4, column = left + threadIdx.x % 4 * 8;
    const int end = (int)(blockIdx.y + 1) * 128 < p.rows ? (blockIdx.y + 1) * 128 : p.rows;
    struct Tile {
        Octet<element> gate[2], up[2], d[2];
        u32 a[steps][4], d_product[1][4];
    };
    auto load = [&](int row) {
        Tile tile;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const i64 r = row + g + 8 * h < end ? row + g + 8 * h : end - 1;
            tile.gate[h] = Octet<element>::at(p.gate_up + r * 2 * p.columns + column);
            tile.up[h] = Octet<element>::at(p.gate_up + (r * 2 + 1) * p.columns + column);
            if (backwards) tile.d[h] = Octet<element>::at(p.d_out + r * p.columns + column);
        }
        load_product<steps>(p, row, end, tile.a);
        if (backwards) load_d_product(p, row, end, tile.d_product[0]);
        return tile;
    };
    Tile now = load(blockIdx.y * 128);
    for (int row = blockIdx.y * 128; row < end; row += 16) {
        // The next tile is under way while this one is worked on. The last one is loaded twice.
        const Tile next = load(row + 16 < end ? row + 16 : row);
        float sum[8][4], d[2][8];
        if (backwards) {
            form_update<1>(now.d_product, factor, sum);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                unpack(now.d[h], d[h]);
#pragma unroll
                for (int j = 0; j < 8; j++) d[h][j] += sum[j][2 * h];
            }
        }
        form_update<steps>(now.a, b, sum);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = row + g + 8 * h;
            float x[8], y[8];
            unpack(now.gate[h], x);
            unpack(now.up[h], y);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                // Rounded as the sum would be in memory, so that both passes see the same.
                const float gate = to_float(from_float<element>(x[j] + p.scale * sum[j][2 * h]));
                const float up = to_float(from_float<element>(y[j] + p.scale * sum[j][2 * h + 1]));
                float slope;
                const float f = activated<kind>(gate, backwards ? &slope : nullptr);
                x[j] = backwards ? d[h][j] * up * slope : f * up;
                y[j] = backwards ? d[h][j] * f : 0;
            }
            if (r >= end) continue;
            if (backwards) {
                store_some<8>(x, p.out + (i64)r * 2 * p.columns + column);
                store_some<8>(y, p.out + ((i64)r * 2 + 1) * p.columns + column);
            } else {
                store_some<8>(x, p.out + (i64)r * p.columns + column);
            }
        }
        now = next;
    }
}

template <bool backwards, int steps> DEVICE void gated_of_kind(const LoRAGated &p) {
    switch (p.kind) {
    case silu: return gated_unit<silu, backwards, steps>(p);
    case gelu_tanh: return gated_unit<gelu_tanh, backwards, steps>(p);
    default: return gated_unit<gelu_erf, backwards, steps>(p);
    }
}
template <bool backwards> DEVICE void gated_of_steps(const LoRAGated &p) {
#ifdef STEPS
    gated_of_kind<backwards, STEPS>(p);
#else
    switch ((p.ranks + 15) / 16) {
    case 1: return gated_of_kind<backwards, 1>(p);
    case 2: return gated_of_kind<backwards, 2>(p);
    case 3: return gated_of_kind<backwards, 3>(p);
    default: return gated_of_kind<backwards, 4>(p);
    }
#endif
}

KERNEL(128, lora_gated_forward, LoRAGated) { gated_of_steps<false>(p); }
KERNEL(128, lora_gated_backward, LoRAGated) { gated_of_steps<true>(p); }

#endif
