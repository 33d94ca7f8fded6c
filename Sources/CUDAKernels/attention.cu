// Causal attention on tensor cores, head sizes 64 and 128, 16-bit types: formulas and arguments as in attention_any.cu.
//
// Trick (Dao 2023, arXiv:2307.08691): a block keeps 64 rows of its own in shared memory, 16 a warp, and streams tiles of the others
// past them; scores and probabilities never leave registers, for the C fragment of one product is the A fragment of the next. Tiles
// outside a row's segment or window are skipped, masks applied only where a tile is cut. Backward runs twice, once by keys (dk, dv
// over all query heads of the group) and once by queries (dq): two products more than with atomics, and the same bits every time.
// A tile's 16-byte pieces are stored at column ^ (row & 7), so that ldmatrix meets no bank twice.
//
// Launch: 128 threads; D the head size in the name.
//   attention_forward_D:      grid (rows / 64 rounded up, heads), shared 384 D bytes
//   attention_backward_kv_D:  grid (rows / 64 rounded up, key_value_heads), shared 256 D + stages (4 S D + 12 S) bytes
//   attention_backward_q_D:   grid (rows / 64 rounded up, heads), shared the same
// with S = 64 streamed rows for D = 64, 32 for D = 128; stages = 2 from ARCH 80 on, else 1. attention_delta comes before both.
#include "device.cuh"

#if TYPE != 0

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

#if ARCH >= 80
enum { stages = 2 };
#else
enum { stages = 1 };
#endif

DEVICE int first_seen(const AttentionArguments &p, int row) {
    const int start = p.segment_start[row];
    return p.window > 0 && row - p.window + 1 > start ? row - p.window + 1 : start;
}

/// Address of 16 bytes (8 columns) of a tile in shared memory.
template <int D> DEVICE u8 *piece(u8 *tile, int row, int column) { return tile + row * (2 * D) + (((column / 8) ^ (row & 7)) * 16); }

/// Starts copying `count` rows from `first` on, zeros from `end` on.
template <int D, int count> DEVICE void load_tile(u8 *tile, const element *from, i64 ld, int first, int end) {
#pragma unroll
    for (int i = 0; i < count * D / 8 / 128; i++) {
        const int index = i * 128 + threadIdx.x, row = index / (D / 8), column = index % (D / 8) * 8;
        const bool inside = first + row < end;
        copy_async(piece<D>(tile, row, column), from + (i64)(inside ? first + row : first) * ld + column, inside);
    }
}

// Fragments of a tile, rows from `row` on and columns from `column` on:
/// A of m16k16: 16 rows, 16 columns.
template <int D> DEVICE void load_a(u32 *a, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices(a, piece<D>(tile, row + lane % 16, column + lane / 16 * 8));
}
/// B of k16 (columns) by n16 (rows): b[0], b[1] for the first eight rows, b[2], b[3] for the others.
template <int D> DEVICE void load_b(u32 *b, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices(b, piece<D>(tile, row + lane / 16 * 8 + lane % 8, column + lane / 8 % 2 * 8));
}
/// B of k16 (rows) by n16 (columns).
template <int D> DEVICE void load_b_transposed(u32 *b, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices_transposed(b, piece<D>(tile, row + lane % 16, column + lane / 16 * 8));
}

/// c [16, N] = own rows `row` ... times the tile's N rows, over D columns.
template <int D, int N> DEVICE void scores(float (*c)[4], u8 *own, int row, u8 *tile) {
#pragma unroll
    for (int j = 0; j < N / 8; j++) c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        u32 a[4], b[4];
        load_a<D>(a, own, row, k);
#pragma unroll
        for (int j = 0; j < N / 16; j++) {
            load_b<D>(b, tile, 16 * j, k);
            mma_16816<element>(c[2 * j], a, b);
            mma_16816<element>(c[2 * j + 1], a, b + 2);
        }
    }
}

/// sum [16, D] += x [16, N] times the tile [N, D].
template <int D, int N> DEVICE void accumulate(float (*sum)[4], float (*x)[4], u8 *tile) {
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
        const u32 a[4] = {
            pack2<element>(x[2 * k][0], x[2 * k][1]), pack2<element>(x[2 * k][2], x[2 * k][3]), pack2<element>(x[2 * k + 1][0], x[2 * k + 1][1]),
            pack2<element>(x[2 * k + 1][2], x[2 * k + 1][3])};
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            u32 b[4];
            load_b_transposed<D>(b, tile, 16 * k, 16 * j);
            mma_16816<element>(sum[2 * j], a, b);
            mma_16816<element>(sum[2 * j + 1], a, b + 2);
        }
    }
}

/// Writes 16 rows from `first` on (those before `end`): row r to to + r * ld, times a factor for rows g and one for g + 8.
template <int D> DEVICE void store_rows(float (*x)[4], float low, float high, element *to, i64 ld, int first, int end) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < D / 8; j++) {
        if (first + g < end) *(u32 *)(to + (i64)(first + g) * ld + 8 * j + 2 * t) = pack2<element>(x[j][0] * low, x[j][1] * low);
        if (first + g + 8 < end) *(u32 *)(to + (i64)(first + g + 8) * ld + 8 * j + 2 * t) = pack2<element>(x[j][2] * high, x[j][3] * high);
    }
}

DEVICE float quad_sum(float x) { x += shuffle_xor(x, 1); return x + shuffle_xor(x, 2); }
DEVICE float quad_max(float x) {
    float y = shuffle_xor(x, 1);
    x = x > y ? x : y;
    y = shuffle_xor(x, 2);
    return x > y ? x : y;
}

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

template <int D> DEVICE void forward(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    u8 *queries = memory, *keys = memory + 128 * D, *values = memory + 256 * D;
    // Long rows of a segment's end first: they take longest.
    const int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * 64, head = blockIdx.y, warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D;
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *key = p.joint + (i64)(p.heads + key_head) * D, *value = key + (i64)p.key_value_heads * D;
    const int end = first + 64 < p.rows ? first + 64 : p.rows;
    const int row[2] = {first + 16 * warp + g, first + 16 * warp + g + 8};
    int seen[2];
    for (int h = 0; h < 2; h++) seen[h] = row[h] < p.rows ? first_seen(p, row[h]) : 0;
    const int start = first_seen(p, first), last_start = first_seen(p, end - 1);
    const float factor = p.soft_cap > 0 ? p.scale : p.scale * LOG2E;

    load_tile<D, 64>(queries, p.joint + (i64)head * D, ld, first, end);
    load_tile<D, 64>(keys, key, ld, start, end);
    copies_commit();
    float sum[D / 8][4] = {}, most[2] = {-1e30f, -1e30f}, total[2] = {0, 0};
    for (int from = start; from < end; from += 64) {
        load_tile<D, 64>(values, value, ld, from, end);
        copies_commit();
        copies_wait<1>();
        block_barrier();
        float s[8][4];
        scores<D, 64>(s, queries, 16 * warp, keys);
        block_barrier();
        if (from + 64 < end) load_tile<D, 64>(keys, key, ld, from + 64, end);
        copies_commit();
        const bool cut = from + 63 > first + 16 * warp || last_start > from;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float higher = most[h];
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float &x = s[j][2 * h + i];
                    x *= factor;
                    if (p.soft_cap > 0) x = p.soft_cap * tanhf(x / p.soft_cap) * LOG2E;
                    const int u = from + 8 * j + 2 * t + i;
                    if (cut && (u > row[h] || u < seen[h])) x = -1e30f;
                    higher = x > higher ? x : higher;
                }
            higher = quad_max(higher);
            const float keep = exp2_fast(most[h] - higher);
            most[h] = higher;
            float part = 0;
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float &x = s[j][2 * h + i];
                    // A row that saw nothing yet has no largest score: its weights are none.
                    x = x > -1e29f ? exp2_fast(x - higher) : 0;
                    part += x;
                }
            total[h] = total[h] * keep + part;
#pragma unroll
            for (int j = 0; j < D / 8; j++) { sum[j][2 * h] *= keep; sum[j][2 * h + 1] *= keep; }
        }
        copies_wait<1>();
        block_barrier();
        accumulate<D, 64>(sum, s, values);
        block_barrier();
    }
    for (int h = 0; h < 2; h++) {
        total[h] = quad_sum(total[h]);
        if (t == 0 && row[h] < p.rows) p.lse[(i64)head * p.rows + row[h]] = most[h] * LN2 + logf(total[h]);
    }
    store_rows<D>(sum, 1 / total[0], 1 / total[1], p.out + (i64)head * D, (i64)p.heads * D, first + 16 * warp, p.rows);
}

/// What a row of queries brings to the backward pass.
struct QueryRow { float lse, delta; int seen; };

DEVICE QueryRow query_row(const AttentionArguments &p, int head, int row) {
    if (row >= p.rows) return QueryRow{0, 0, 0x7fffffff};  // sees nothing
    return QueryRow{p.lse[(i64)head * p.rows + row] * LOG2E, p.delta[(i64)head * p.rows + row], first_seen(p, row)};
}

/// From a score and its dp: the weight (in s) and ds without the scale (in dp).
DEVICE void weigh(const AttentionArguments &p, float &s, float &dp, const QueryRow &q, bool seen) {
    float slope = 1;
    if (p.soft_cap > 0) {
        const float bend = tanhf(s * p.scale / p.soft_cap);
        slope = 1 - bend * bend;
        s = p.soft_cap * bend * LOG2E;
    } else {
        s *= p.scale * LOG2E;
    }
    s = seen ? exp2_fast(s - q.lse) : 0;
    dp = s * (dp - q.delta) * slope;
}

template <int D, int S> DEVICE void backward_kv(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { tile = 2 * S * D, stage = 2 * tile + 12 * S };
    u8 *keys = memory, *values = memory + 128 * D, *streamed = memory + 256 * D;
    const int first = blockIdx.x * 64, key_head = blockIdx.y, warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int group = p.heads / p.key_value_heads;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const i64 key = (i64)(p.heads + key_head) * D, value = key + (i64)p.key_value_heads * D;
    const int last = (first + 64 < p.rows ? first + 64 : p.rows) - 1;
    // Tiles of queries that see one of these keys: what a row sees first only rises.
    int low = 0, high = (p.rows - first + S - 1) / S;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (first_seen(p, first + middle * S) > last) high = middle; else low = middle + 1;
    }
    const int tiles = low, count = tiles * group;
    load_tile<D, 64>(keys, p.joint + key, ld, first, p.rows);
    load_tile<D, 64>(values, p.joint + value, ld, first, p.rows);

    auto load = [&](int i) {
        u8 *to = streamed + i % stages * stage;
        const int head = key_head * group + i / tiles, from = first + i % tiles * S;
        load_tile<D, S>(to, p.joint + (i64)head * D, ld, from, p.rows);
        load_tile<D, S>(to + tile, p.d_out + (i64)head * D, wide, from, p.rows);
        if (threadIdx.x < S) ((QueryRow *)(to + 2 * tile))[threadIdx.x] = query_row(p, head, from + threadIdx.x);
        copies_commit();
    };
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    if (stages == 2) load(0);
    for (int i = 0; i < count; i++) {
        if (stages == 2) {
            if (i + 1 < count) load(i + 1); else copies_commit();
            copies_wait<1>();
        } else {
            load(i);
            copies_wait<0>();
        }
        block_barrier();
        u8 *queries = streamed + i % stages * stage, *gradients = queries + tile;
        const QueryRow *rows = (const QueryRow *)(queries + 2 * tile);
        const int from = first + i % tiles * S;
        float s[S / 8][4], dp[S / 8][4];
        scores<D, S>(s, keys, 16 * warp, queries);
        scores<D, S>(dp, values, 16 * warp, gradients);
#pragma unroll
        for (int j = 0; j < S / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int column = 8 * j + 2 * t + e % 2, u = first + 16 * warp + g + e / 2 * 8, row = from + column;
                weigh(p, s[j][e], dp[j][e], rows[column], u <= row && u >= rows[column].seen);
            }
        accumulate<D, S>(dv, s, gradients);
        accumulate<D, S>(dk, dp, queries);
        block_barrier();
    }
    store_rows<D>(dk, p.scale, p.scale, p.d_joint + key, ld, first + 16 * warp, p.rows);
    store_rows<D>(dv, 1, 1, p.d_joint + value, ld, first + 16 * warp, p.rows);
}

template <int D, int S> DEVICE void backward_q(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { tile = 2 * S * D, stage = 2 * tile };
    u8 *queries = memory, *gradients = memory + 128 * D, *streamed = memory + 256 * D;
    const int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * 64, head = blockIdx.y, warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *key = p.joint + (i64)(p.heads + key_head) * D, *value = key + (i64)p.key_value_heads * D;
    const int end = first + 64 < p.rows ? first + 64 : p.rows, start = first_seen(p, first);
    const int row[2] = {first + 16 * warp + g, first + 16 * warp + g + 8};
    const QueryRow mine[2] = {query_row(p, head, row[0]), query_row(p, head, row[1])};
    load_tile<D, 64>(queries, p.joint + (i64)head * D, ld, first, end);
    load_tile<D, 64>(gradients, p.d_out + (i64)head * D, wide, first, end);

    auto load = [&](int from, int i) {
        u8 *to = streamed + i % stages * stage;
        load_tile<D, S>(to, key, ld, from, end);
        load_tile<D, S>(to + tile, value, ld, from, end);
        copies_commit();
    };
    float dq[D / 8][4] = {};
    if (stages == 2) load(start, 0);
    for (int from = start, i = 0; from < end; from += S, i++) {
        if (stages == 2) {
            if (from + S < end) load(from + S, i + 1); else copies_commit();
            copies_wait<1>();
        } else {
            load(from, i);
            copies_wait<0>();
        }
        block_barrier();
        u8 *keys = streamed + i % stages * stage, *values = keys + tile;
        float s[S / 8][4], dp[S / 8][4];
        scores<D, S>(s, queries, 16 * warp, keys);
        scores<D, S>(dp, gradients, 16 * warp, values);
#pragma unroll
        for (int j = 0; j < S / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int u = from + 8 * j + 2 * t + e % 2, h = e / 2;
                weigh(p, s[j][e], dp[j][e], mine[h], u <= row[h] && u >= mine[h].seen);
            }
        accumulate<D, S>(dq, dp, keys);
        block_barrier();
    }
    store_rows<D>(dq, p.scale, p.scale, p.d_joint + (i64)head * D, ld, first + 16 * warp, p.rows);
}

KERNEL(128, attention_forward_64, AttentionArguments) { forward<64>(p); }
KERNEL(128, attention_forward_128, AttentionArguments) { forward<128>(p); }
KERNEL(128, attention_backward_kv_64, AttentionArguments) { backward_kv<64, 64>(p); }
KERNEL(128, attention_backward_kv_128, AttentionArguments) { backward_kv<128, 32>(p); }
KERNEL(128, attention_backward_q_64, AttentionArguments) { backward_q<64, 64>(p); }
KERNEL(128, attention_backward_q_128, AttentionArguments) { backward_q<128, 32>(p); }

#endif
