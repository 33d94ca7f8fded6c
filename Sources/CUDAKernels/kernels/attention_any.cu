// Causal attention inside the segments of a packed micro-batch, for any head size up to 256 and every type, and its backward pass.
//
//   joint [T, (H+2K) D] = q | k | v, rotated     segment_start [T]     out, d_out [T, H D]     lse, delta [H, T] float32
//   s(t,u) = scale * q_t.k_u, then cap * tanh(s / cap) with a soft cap;  u in max(segment_start[t], t - window + 1) ... t
//   p(t,u) = exp(s(t,u) - lse[t]);  out_t = sum_u p(t,u) v_u
//   delta[t] = d_out_t.out_t;  ds = p * (d_out_t.v_u - delta[t]) * (1 - (s / cap)^2)
//   dq_t = scale * sum_u ds k_u;  dk_u = scale * sum_t ds q_t;  dv_u = sum_t p d_out_t
//
// One warp works on one row of one head, lane l on dimensions l, l + 32, ...: plain float32 arithmetic in a fixed order. This is the
// reference for the tensor-core kernels and what runs in float32 and for unusual head sizes; those of 64 and 128 have their own.
//
// Launch: 128 threads. attention_forward_any, attention_delta, attention_backward_q_any: grid (rows / 4 rounded up, heads).
//         attention_backward_kv_any: grid (rows / 4 rounded up, key_value_heads).
#include "device.cuh"

enum { parts = 8 };  // 256 / 32

struct AttentionArguments {
    const element *joint;
    const int *segment_start;
    element *out;
    float *lse;
    const element *d_out;
    float *delta;
    element *d_joint;
    int rows, heads, key_value_heads, head_dimension, window;
    float scale, soft_cap;
};

DEVICE i64 joint_columns(const AttentionArguments &p) { return (i64)(p.heads + 2 * p.key_value_heads) * p.head_dimension; }

/// This lane's dimensions of a head.
DEVICE void load_head(const element *from, int dimension, float *to) {
#pragma unroll
    for (int i = 0; i < parts; i++) {
        const int d = threadIdx.x % 32 + 32 * i;
        to[i] = d < dimension ? to_float(from[d]) : 0;
    }
}
DEVICE void store_head(const float *from, int dimension, element *to) {
#pragma unroll
    for (int i = 0; i < parts; i++) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < dimension) to[d] = from_float<element>(from[i]);
    }
}
DEVICE float dot(const float *a, const float *b) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < parts; i++) sum += a[i] * b[i];
    return warp_sum(sum);
}
DEVICE float capped(const AttentionArguments &p, float s) { return p.soft_cap > 0 ? p.soft_cap * tanhf(s / p.soft_cap) : s; }
/// Derivative of the cap at the capped score.
DEVICE float cap_slope(const AttentionArguments &p, float s) { return p.soft_cap > 0 ? 1 - (s / p.soft_cap) * (s / p.soft_cap) : 1; }
DEVICE int first_seen(const AttentionArguments &p, int row) {
    const int start = p.segment_start[row];
    return p.window > 0 && row - p.window + 1 > start ? row - p.window + 1 : start;
}

KERNEL(128, attention_forward_any, AttentionArguments) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, head = blockIdx.y, D = p.head_dimension;
    if (row >= p.rows) return;
    const i64 ld = joint_columns(p);
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *keys = p.joint + (i64)(p.heads + key_head) * D, *values = keys + (i64)p.key_value_heads * D;
    float q[parts], x[parts], sum[parts];
    load_head(p.joint + row * ld + (i64)head * D, D, q);
    for (int i = 0; i < parts; i++) sum[i] = 0;
    float most = -1e30f, total = 0;
    for (int u = first_seen(p, row); u <= row; u++) {
        load_head(keys + u * ld, D, x);
        const float s = capped(p, p.scale * dot(q, x));
        const float higher = s > most ? s : most, keep = expf(most - higher), weight = expf(s - higher);
        most = higher;
        total = total * keep + weight;
        load_head(values + u * ld, D, x);
        for (int i = 0; i < parts; i++) sum[i] = sum[i] * keep + weight * x[i];
    }
    for (int i = 0; i < parts; i++) sum[i] /= total;
    store_head(sum, D, p.out + ((i64)row * p.heads + head) * D);
    if (threadIdx.x % 32 == 0) p.lse[(i64)head * p.rows + row] = most + logf(total);
}

KERNEL(128, attention_delta, AttentionArguments) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, head = blockIdx.y, D = p.head_dimension;
    if (row >= p.rows) return;
    float a[parts], b[parts];
    load_head(p.out + ((i64)row * p.heads + head) * D, D, a);
    load_head(p.d_out + ((i64)row * p.heads + head) * D, D, b);
    const float sum = dot(a, b);
    if (threadIdx.x % 32 == 0) p.delta[(i64)head * p.rows + row] = sum;
}

KERNEL(128, attention_backward_q_any, AttentionArguments) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, head = blockIdx.y, D = p.head_dimension;
    if (row >= p.rows) return;
    const i64 ld = joint_columns(p);
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *keys = p.joint + (i64)(p.heads + key_head) * D, *values = keys + (i64)p.key_value_heads * D;
    float q[parts], g[parts], x[parts], dq[parts];
    load_head(p.joint + row * ld + (i64)head * D, D, q);
    load_head(p.d_out + ((i64)row * p.heads + head) * D, D, g);
    for (int i = 0; i < parts; i++) dq[i] = 0;
    const float lse = p.lse[(i64)head * p.rows + row], delta = p.delta[(i64)head * p.rows + row];
    for (int u = first_seen(p, row); u <= row; u++) {
        load_head(values + u * ld, D, x);
        const float dp = dot(g, x);
        load_head(keys + u * ld, D, x);
        const float s = capped(p, p.scale * dot(q, x));
        const float ds = expf(s - lse) * (dp - delta) * cap_slope(p, s) * p.scale;
        for (int i = 0; i < parts; i++) dq[i] += ds * x[i];
    }
    store_head(dq, D, p.d_joint + row * ld + (i64)head * D);
}

KERNEL(128, attention_backward_kv_any, AttentionArguments) {
    const int u = blockIdx.x * 4 + threadIdx.x / 32, key_head = blockIdx.y, D = p.head_dimension;
    if (u >= p.rows) return;
    const i64 ld = joint_columns(p);
    const int group = p.heads / p.key_value_heads;
    const i64 key = (i64)(p.heads + key_head) * D, value = key + (i64)p.key_value_heads * D;
    float k[parts], v[parts], q[parts], g[parts], dk[parts], dv[parts];
    load_head(p.joint + u * ld + key, D, k);
    load_head(p.joint + u * ld + value, D, v);
    for (int i = 0; i < parts; i++) dk[i] = dv[i] = 0;
    for (int t = u; t < p.rows && p.segment_start[t] <= u && (p.window <= 0 || t - u < p.window); t++)
        for (int head = key_head * group; head < (key_head + 1) * group; head++) {
            load_head(p.joint + t * ld + (i64)head * D, D, q);
            load_head(p.d_out + ((i64)t * p.heads + head) * D, D, g);
            const float s = capped(p, p.scale * dot(q, k)), weight = expf(s - p.lse[(i64)head * p.rows + t]);
            const float ds = weight * (dot(g, v) - p.delta[(i64)head * p.rows + t]) * cap_slope(p, s) * p.scale;
            for (int i = 0; i < parts; i++) {
                dk[i] += ds * q[i];
                dv[i] += weight * g[i];
            }
        }
    store_head(dk, D, p.d_joint + u * ld + key);
    store_head(dv, D, p.d_joint + u * ld + value);
}

// Attention of new rows against a KV cache [slots, P, 2 K D] (k then v), for decoding.
//
// A decoded token is one row with up to thousands of keys, so a block works on one row, and on one head or `shared` heads that have their keys in
// common: each team of eight lanes takes every 32nd key, a lane eight neighbouring dimensions of 64 at a time, with a running maximum, total and sum
// of its own for each head; at the end the teams' are joined. Keys and values are loaded while those before them are worked on. Which team takes a
// key depends on its place alone, and sums are joined in a fixed order: a row has the same bits in every batch, and in every one of these kernels.
//
// Launch: cached_store: grid (rows), 128 threads; cached_attention_SIZE: grid (rows, heads / shared), 256 threads, head sizes up to SIZE.
struct CachedAttentionArguments {
    const element *joint;
    const int *slots;
    const int *positions;
    element *cache;
    element *out;
    int rows, heads, key_value_heads, head_dimension, window, maximum_positions;
    float scale, soft_cap;
};

KERNEL(128, cached_store, CachedAttentionArguments) {
    const int row = blockIdx.x, wide = 2 * p.key_value_heads * p.head_dimension;
    const element *from = p.joint + (i64)row * (p.heads + 2 * p.key_value_heads) * p.head_dimension + (i64)p.heads * p.head_dimension;
    element *to = p.cache + ((i64)p.slots[row] * p.maximum_positions + p.positions[row]) * wide;
    for (int i = threadIdx.x; i < wide; i += blockDim.x) to[i] = from[i];
}

enum { teams = 32, warps = 8 };

/// Eight dimensions of a head from `first` on, as they lie in memory; 0 past its end.
DEVICE Octet<element> octet_of(const element *from, int first, int dimension) {
    if (dimension % 8 == 0 && first < dimension) return Octet<element>::at(from + first);
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = first + i < dimension ? to_float(from[first + i]) : 0;
    return packed<element>(x);
}

/// What the warps of a block have of each head, to be joined.
template <int packs, int shared> struct CachedPartials {
    float largest[warps][shared], totals[warps][shared], sums[warps][shared][64 * packs];
};

/// Heads of at most 64 `packs` dimensions.
template <int packs, int shared> struct CachedRow {
    float q[shared][packs][8], sum[shared][packs][8], most[shared], total[shared];

    MEMBER void begin(const element *query, int first, int D) {
#pragma unroll
        for (int h = 0; h < shared; h++) {
            most[h] = -1e30f;
            total[h] = 0;
#pragma unroll
            for (int j = 0; j < packs; j++) {
                unpack(octet_of(query + h * D, 64 * j + first, D), q[h][j]);
#pragma unroll
                for (int i = 0; i < 8; i++) sum[h][j][i] = 0;
            }
        }
    }

    /// This team's next key and value; where `there` is not set they have no weight.
    MEMBER void see(const CachedAttentionArguments &p, float (*k)[8], float (*v)[8], bool there) {
#pragma unroll
        for (int h = 0; h < shared; h++) {
            float s = 0;
#pragma unroll
            for (int j = 0; j < packs; j++)
#pragma unroll
                for (int i = 0; i < 8; i++) s += q[h][j][i] * k[j][i];
#pragma unroll
            for (int mask = 1; mask < 8; mask *= 2) s += shuffle_xor(s, mask);
            s *= p.scale;
            if (p.soft_cap > 0) s = p.soft_cap * tanhf(s / p.soft_cap);
            const float higher = there && s > most[h] ? s : most[h], keep = expf(most[h] - higher), weight = there ? expf(s - higher) : 0;
            most[h] = higher;
            total[h] = total[h] * keep + weight;
#pragma unroll
            for (int j = 0; j < packs; j++)
#pragma unroll
                for (int i = 0; i < 8; i++) sum[h][j][i] = sum[h][j][i] * keep + weight * v[j][i];
        }
    }

    /// Joins the four teams of a warp, and leaves what they have for the other warps.
    MEMBER void leave(CachedPartials<packs, shared> &partials, int first) {
        const int warp = threadIdx.x / 32;
#pragma unroll
        for (int h = 0; h < shared; h++) {
#pragma unroll
            for (int mask = 8; mask < 32; mask *= 2) {
                const float other = shuffle_xor(most[h], mask), higher = other > most[h] ? other : most[h], keep = expf(most[h] - higher);
                most[h] = higher;
                total[h] *= keep;
                total[h] += shuffle_xor(total[h], mask);
#pragma unroll
                for (int j = 0; j < packs; j++)
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        sum[h][j][i] *= keep;
                        sum[h][j][i] += shuffle_xor(sum[h][j][i], mask);
                    }
            }
            if (threadIdx.x % 32 >= 8) continue;
            partials.largest[warp][h] = most[h];
            partials.totals[warp][h] = total[h];
#pragma unroll
            for (int j = 0; j < packs; j++)
#pragma unroll
                for (int i = 0; i < 8; i++) partials.sums[warp][h][64 * j + first + i] = sum[h][j][i];
        }
    }
};

template <int packs, int shared> DEVICE void attend_cached(const CachedAttentionArguments &p, CachedPartials<packs, shared> &partials) {
    const int row = blockIdx.x, head = blockIdx.y * shared, D = p.head_dimension, team = threadIdx.x / 8, first = threadIdx.x % 8 * 8;
    const int key_head = head / (p.heads / p.key_value_heads), wide = 2 * p.key_value_heads * D, last = p.positions[row];
    const element *cache = p.cache + (i64)p.slots[row] * p.maximum_positions * wide + (i64)key_head * D;
    CachedRow<packs, shared> mine;
    mine.begin(p.joint + (i64)row * (p.heads + 2 * p.key_value_heads) * D + (i64)head * D, first, D);
    Octet<element> next_k[packs], next_v[packs];
    auto load = [&](int position) {
        const element *key = cache + (i64)(position <= last ? position : last) * wide;
#pragma unroll
        for (int j = 0; j < packs; j++) {
            next_k[j] = octet_of(key, 64 * j + first, D);
            next_v[j] = octet_of(key + (i64)p.key_value_heads * D, 64 * j + first, D);
        }
    };
    const int begin = p.window > 0 && last - p.window + 1 > 0 ? last - p.window + 1 : 0;
    load(begin + team);
    for (int base = begin; base <= last; base += teams) {
        float k[packs][8], v[packs][8];
#pragma unroll
        for (int j = 0; j < packs; j++) {
            unpack(next_k[j], k[j]);
            unpack(next_v[j], v[j]);
        }
        load(base + teams + team);
        mine.see(p, k, v, base + team <= last);
    }
    mine.leave(partials, first);
    block_barrier();
    for (int at = threadIdx.x; at < shared * D; at += blockDim.x) {
        const int h = at / D, d = at % D;
        float higher = partials.largest[0][h], all = 0, value = 0;
        for (int i = 1; i < warps; i++) higher = partials.largest[i][h] > higher ? partials.largest[i][h] : higher;
        for (int i = 0; i < warps; i++) {
            const float keep = expf(partials.largest[i][h] - higher);
            all += partials.totals[i][h] * keep;
            value += partials.sums[i][h][d] * keep;
        }
        p.out[((i64)row * p.heads + head) * D + at] = from_float<element>(value / all);
    }
}

// `blocks`: how many blocks of 256 threads shall fit on a multiprocessor with their registers.
#define CACHED_ATTENTION(name, packs, shared, blocks)                    \
    KERNEL_OF_MANY(256, blocks, name, CachedAttentionArguments) {       \
        SHARED CachedPartials<packs, shared> partials;                  \
        attend_cached<packs, shared>(p, partials);                      \
    }
CACHED_ATTENTION(cached_attention_64, 1, 1, 1)
CACHED_ATTENTION(cached_attention_64_by_four, 1, 4, 1)
CACHED_ATTENTION(cached_attention_128, 2, 1, 2)
CACHED_ATTENTION(cached_attention_128_by_two, 2, 2, 2)
CACHED_ATTENTION(cached_attention_256, 4, 1, 1)
