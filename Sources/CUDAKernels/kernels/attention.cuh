// What the kernels of attention.cu share: their arguments, which rows see which, and what is done to fragments and to rows beside tiles.
#pragma once
#include "tiles.cuh"

#if TYPE != 0

struct AttentionArguments {
    const element *joint;
    const int *segment_start;
    element *out;
    float *lse;
    const element *d_out;
    float *delta;
    element *d_joint;
    const float *cos;  // null: not rotated back
    const float *sin;
    int rows, heads, key_value_heads, head_dimension, window;
    float scale, soft_cap;
};

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
/// Below every score: what a row does not see.
#define UNSEEN -1e30f

DEVICE int later(int a, int b) { return a > b ? a : b; }
/// The first row that a row whose segment begins at `start` sees.
DEVICE int first_seen(const AttentionArguments &p, int row, int start) { return p.window > 0 ? later(start, row - p.window + 1) : start; }
DEVICE int first_seen(const AttentionArguments &p, int row) { return first_seen(p, row, p.segment_start[row]); }

/// Writes 16 rows (those before `end`) from `first` on, row r to to + r * ld, times `low` for rows g and `high` for g + 8.
template <int D> DEVICE void store_rows(float (*x)[4], float low, float high, element *to, i64 ld, int first, int end) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = first + threadIdx.x % 32 / 4 + 8 * h;
        const float factor = h ? high : low;
        if (row >= end) continue;
#pragma unroll
        for (int j = 0; j < D / 8; j++) *(u32 *)(to + (i64)row * ld + 8 * j + 2 * t) = pack2<element>(x[j][2 * h] * factor, x[j][2 * h + 1] * factor);
    }
}

/// Rotates 16 rows from `first` on back, each by its row's angles.
template <int D> DEVICE void rotate_back(const AttentionArguments &p, float (*x)[4], int first) {
    if (!p.cos) return;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = first + threadIdx.x % 32 / 4 + 8 * h;
        if (row >= p.rows) continue;
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            const float2 c = *(const float2 *)(p.cos + (i64)row * (D / 2) + 8 * j + 2 * t), s = *(const float2 *)(p.sin + (i64)row * (D / 2) + 8 * j + 2 * t);
            float *a = x[j] + 2 * h, *b = x[j + D / 16] + 2 * h;
            const float a0 = a[0], a1 = a[1];
            a[0] = a0 * c.x + b[0] * s.x;
            b[0] = b[0] * c.x - a0 * s.x;
            a[1] = a1 * c.y + b[1] * s.y;
            b[1] = b[1] * c.y - a1 * s.y;
        }
    }
}

DEVICE float quad_sum(float x) { x += shuffle_xor(x, 1); return x + shuffle_xor(x, 2); }
DEVICE float quad_max(float x) {
    x = fmaxf(x, shuffle_xor(x, 1));
    return fmaxf(x, shuffle_xor(x, 2));
}

/// The largest of `most` and this thread's scores of row h of its two. In four chains: one would be waited for, link by link.
template <int N> DEVICE float row_max(float (*s)[4], int h, float most) {
    float four[4] = {most, s[0][2 * h], s[0][2 * h + 1], s[1][2 * h]};
    four[0] = fmaxf(four[0], s[1][2 * h + 1]);
#pragma unroll
    for (int j = 2; j < N / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) four[(2 * j + e) % 4] = fmaxf(four[(2 * j + e) % 4], s[j][2 * h + e]);
    return fmaxf(fmaxf(four[0], four[1]), fmaxf(four[2], four[3]));
}

/// Online softmax (Milakov, Gimelshein 2018): one tile's scores become weights 2^(factor * (score - maximum)), and the rows' running
/// maxima, totals and sums are brought to the new maximum.
template <int D, int N> DEVICE void online_softmax(float (*s)[4], float (*sum)[4], float *most, float *total, float factor) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float higher = quad_max(row_max<N>(s, h, most[h]));
        // A row that saw nothing yet has no largest score: its weights are 2^(UNSEEN * factor), none.
        const float base = higher > 0.1f * UNSEEN ? higher * factor : 0;
        const float keep = exp2_fast(most[h] * factor - base);
        most[h] = higher;
        float part = 0;
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            s[j][2 * h] = exp2_fast(fmaf(s[j][2 * h], factor, -base));
            s[j][2 * h + 1] = exp2_fast(fmaf(s[j][2 * h + 1], factor, -base));
            part += s[j][2 * h] + s[j][2 * h + 1];
        }
        total[h] = total[h] * keep + part;
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
            sum[j][2 * h] *= keep;
            sum[j][2 * h + 1] *= keep;
        }
    }
}

/// From a score of a row with its lse (in powers of two): the weight. Returns the slope of the soft cap there, 1 without one:
/// ds = weight * (dp - delta) * slope, without the scale.
template <bool capped> DEVICE float weigh(const AttentionArguments &p, float &s, float lse) {
    const float bend = capped ? tanhf(s * (p.scale / p.soft_cap)) : 0;
    s = exp2_fast(capped ? fmaf(bend, p.soft_cap * LOG2E, -lse) : fmaf(s, p.scale * LOG2E, -lse));
    return 1 - bend * bend;
}

/// delta = d_out . out of the warp's 16 rows from `own` on of R from `first` on, to memory and to `delta` [R]; gradients: d_out's tile.
template <int D, int R> DEVICE void form_delta(const AttentionArguments &p, u8 *gradients, float *delta, int first, int head, int own) {
    enum { lanes = D / 8, at_a_time = 32 / lanes };
    const int lane = threadIdx.x % 32, column = lane % lanes * 8;
#pragma unroll
    for (int r = 0; r < 16; r += at_a_time) {
        const int local = own + r + lane / lanes, row = first + local;
        float sum = 0;
        if (row < p.rows) {
            float a[8], b[8];
            load_pack(p.out + ((i64)row * p.heads + head) * D + column, a);
            load_pack((const element *)piece<R>(gradients, local, column), b);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += a[i] * b[i];
        }
#pragma unroll
        for (int mask = lanes / 2; mask > 0; mask >>= 1) sum += shuffle_xor(sum, mask);
        if (lane % lanes == 0) {
            delta[local] = sum;
            if (row < p.rows) p.delta[(i64)head * p.rows + row] = sum;
        }
    }
    warp_barrier();
}

/// How many tiles of S queries from `first` on begin with a row that sees row `last` or one before it. What a row sees first only rises.
template <int S> DEVICE int seeing_tiles(const AttentionArguments &p, int first, int last) {
    int low = 0, high = (p.rows - first + S - 1) / S;
    while (low < high) {
        // Thirty-two places at once: a search one by one would wait for memory every time.
        const int step = (high - low + 31) / 32, at = low + (int)(threadIdx.x % 32) * step;
        const float sees = at < high && first_seen(p, first + at * S) <= last ? 1.0f : 0.0f;
        const int count = (int)warp_sum(sees);
        if (count == 0) return low;
        const int known = low + (count - 1) * step;  // the last place that sees
        high = known + step < high ? known + step : high;
        low = known + 1;
    }
    return low;
}

/// The last queries that see the warp's keys `mine` + lane / 4 and + 8.
DEVICE void last_seeing(const AttentionArguments &p, int mine, int *last) {
    AttentionArguments whole = p;
    whole.window = 0;
    last[0] = last[1] = -1;
    // A search for each segment that has some of the 16 keys.
    for (int from = mine; from < mine + 16 && from < p.rows;) {
        const int end = from + warp_uniform(seeing_tiles<1>(whole, from, from));
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int key = mine + 8 * h + threadIdx.x % 32 / 4;
            if (key >= from && key < end) last[h] = p.window > 0 && key + p.window < end ? key + p.window - 1 : end - 1;
        }
        from = end;
    }
}

/// Starts copying lse, delta and segment of the streamed rows `from`..<from + S of a head.
template <int S> DEVICE void load_beside(const AttentionArguments &p, u8 *beside, int head, int from, int thread = threadIdx.x) {
    // Rows past the end become zeros: they weigh 1 and bring nothing.
    if (thread < S) {
        const int row = from + thread;
        const bool inside = row < p.rows;
        const i64 at = (i64)head * p.rows + (inside ? row : 0);
        u8 *numbers = beside + 4 * thread;
        copy_async_word(numbers, p.lse + at, inside);
        copy_async_word(numbers + 4 * S, p.delta + at, inside);
        copy_async_word(numbers + 8 * S, p.segment_start + (inside ? row : 0), inside);
    }
}

/// Zeros a and b [16, N] where key `mine` + row is not seen by query `at` + column; starts: the queries' segments.
template <int N> DEVICE void mask_queries(const AttentionArguments &p, float (*a)[4], float (*b)[4], int at, int mine, const int *starts) {
    const int g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4, end = at + N < p.rows ? at + N : p.rows;
    if (at >= mine + 15 && first_seen(p, end - 1, starts[end - 1 - at]) <= mine) return;
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int column = 8 * j + 2 * t + e, row = at + column, seen = first_seen(p, row, starts[column]);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int u = mine + 8 * h + g8;
                if (u > row || u < seen) a[j][2 * h + e] = b[j][2 * h + e] = 0;
            }
        }
}

#endif
