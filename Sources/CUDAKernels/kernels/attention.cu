// Causal attention on tensor cores, head sizes 64, 128 and 256, 16-bit types: formulas as in attention_any.cu.
//
// Trick (Dao 2023, arXiv:2307.08691): a block keeps 64 rows of its own in shared memory, 16 a warp, and streams tiles of the others past
// them; scores and probabilities never leave registers, for the C fragment of one product is the A fragment of the next. Tiles outside a
// row's segment or window are skipped, masks applied only where a tile is cut. Backward runs twice, once by queries (dq, and delta on the
// way) and once by keys (dk, dv over all query heads of the group): two products more than with atomics, and the same bits every time. A tile's 16-byte pieces are stored at column ^ (row & 7), so that ldmatrix meets no bank twice, and wgmma (tiles.cuh) can read it.
//
// dq and dk leave rotated back where cos and sin [rows, D / 2] are given (see rope.cu): both halves of a head stand in one thread.
//
// Heads of 256: one warp cannot hold dk and dv of 16 rows (256 registers a thread), so backward_kv has two warps for them, and the
// weights go from one to the other through shared memory. Tiles are smaller: 99 KB a block is all that 8.6, 8.9 and 12.0 have.
//
// Launch: 128 threads, D the head size in the name, rows / R rounded up, R own rows a block, S streamed rows a tile (`Streamed` below),
// stages = 2 from ARCH 80 on, else 1.
//   attention_forward_D:      grid (rows / 64, heads), shared 2 D (64 + 2 S)
//   attention_backward_q_D:   grid (rows / R, heads), shared 4 D (R + stages S) + 4 R. 2 R threads.
//   attention_backward_kv_D:  grid (key_value_heads, rows / R), shared 4 D (R + stages S) + stages 12 S. 2 R threads. Needs backward_q before
//                             it (delta).
//   attention_backward_kv_256: 4 R threads, and 2 R S bytes of shared memory more.
//   attention_backward_kv_64_few: 128 n threads, n = 1, 2 or 3 a divisor of heads / key_value_heads; all but 4 D R of the shared bytes n times.
// On HOPPER the kernels of 64 and 128 are attention_group.cuh's, 128 threads a warpgroup; those above are named attention_..._64_few and serve
// where blocks of several warpgroups would be too few. W warpgroups, together: W divides heads / key_value_heads:
//   attention_forward_D:      W = 2, grid (rows / 64, heads / W) if together, else (rows / (64 W), heads), shared 128 W D + 1280 D + 16
//   attention_forward_64_by_four: W = 4
//   attention_backward_q_D:   W = 2, the same grid, shared 256 W D + 1280 D + 16 + 256 W
//   attention_backward_kv_D:  W = 2, grid (key_value_heads, rows / 128), shared 512 D + 1280 D + 2560 + 16
#include "tiles.cuh"
#include "attention.cuh"
#include "attention_group.cuh"

#if TYPE != 0

#if ARCH >= 80
enum { stages = 2 };
#else
enum { stages = 1 };
#endif
/// R of the backward kernels, and S of each kernel: what measured best, and what 64 KB of shared memory hold before ARCH 80; on HOPPER a product's width.
/// Arithmetic is done while products run (`overlaps`) where there are registers for it.
template <int D> struct Streamed {
    enum { own = 64, own_keys = 64, forward = 64, backward_q = !HOPPER && (D == 64 || ARCH < 80) ? 32 : 64, backward_kv = D == 128 && ARCH < 80 ? 32 : 64 };
};
template <> struct Streamed<256> {
    enum { own = ARCH < 80 ? 32 : 64, own_keys = own, forward = HOPPER ? 64 : 32, backward_q = HOPPER ? 64 : 16, backward_kv = HOPPER ? 64 : 16 };
};

// The products of tiles by one body or the other (tiles.cuh); of those of a group, one call is for all warps.
#if HOPPER
#define SCORES group_scores
#define ACCUMULATE group_accumulate
#else
#define SCORES warp_scores
#define ACCUMULATE warp_accumulate
#endif

// ---- forward ----

template <int D, int S, bool capped> DEVICE void forward(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { R = 64, N = S };
    u8 *queries = memory, *keys = memory + 2 * R * D, *values = keys + 2 * S * D;
    // The rows of a segment's end first: they take longest.
    const int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * R, head = blockIdx.y, own = threadIdx.x / 32 * 16, mine = first + own;
    const int g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D;
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *key = p.joint + (i64)(p.heads + key_head) * D, *value = key + (i64)p.key_value_heads * D;
    const int end = first + R < p.rows ? first + R : p.rows;
    const int start = first_seen(p, first), last_start = first_seen(p, end - 1);
    const float factor = capped ? p.soft_cap * LOG2E : p.scale * LOG2E;
    load_tile<D, R>(queries, p.joint + (i64)head * D, ld, first, end);
    load_tile<D, S>(keys, key, ld, start, end);
    copies_commit();
    load_tile<D, S>(values, value, ld, start, end);
    copies_commit();
    int seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) seen[h] = mine + 8 * h + g8 < p.rows ? first_seen(p, mine + 8 * h + g8) : 0;
    float sum[D / 8][4] = {}, most[2] = {UNSEEN, UNSEEN}, total[2] = {0, 0};
    for (int from = start; from < end; from += S) {
        // One tile of each: the next keys come while these weigh the values, the next values while those keys are multiplied.
        const bool more = from + S < end;
        copies_wait<1>();
        tiles_visible();
        block_barrier();
        float s[N / 8][4];
        products_begin();
        SCORES<D, N, S>(s, queries, own, keys, 0);
        products_end<N / 8>(s);
        block_barrier();
        if (more) load_tile<D, S>(keys, key, ld, from + S, end);
        copies_commit();
        if (capped) {
#pragma unroll
            for (int j = 0; j < N / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[j][e] = tanhf(s[j][e] * (p.scale / p.soft_cap));
        }
        if (from + N - 1 > mine || last_start > from) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = mine + 8 * h + g8;
#pragma unroll
                for (int j = 0; j < N / 8; j++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int u = from + 8 * j + 2 * t + e;
                        if (u > row || u < seen[h]) s[j][2 * h + e] = UNSEEN;
                    }
            }
        }
        online_softmax<D, N>(s, sum, most, total, factor);
        u32 weights[N / 16][4];
        narrowed<N>(weights, s);
        copies_wait<1>();
        tiles_visible();
        block_barrier();
        products_begin();
        ACCUMULATE<D, N, S>(sum, weights, values, 0);
        products_end<D / 8>(sum);
        block_barrier();
        if (more) load_tile<D, S>(values, value, ld, from + S, end);
        copies_commit();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        total[h] = quad_sum(total[h]);
        const int row = mine + 8 * h + g8;
        if (t == 0 && row < p.rows) p.lse[(i64)head * p.rows + row] = most[h] * factor * LN2 + logf(total[h]);
    }
    store_rows<D>(sum, 1 / total[0], 1 / total[1], p.out + (i64)head * D, (i64)p.heads * D, mine, p.rows);
}

// ---- backward ----

template <int D, int S, bool capped> DEVICE void backward_q(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { R = Streamed<D>::own, threads = 2 * R, tile = 2 * S * D, N = HOPPER ? 64 : S < 32 ? S : 32, overlaps = D == 128 && !capped };
    u8 *queries = memory, *gradients = memory + 2 * R * D, *streamed = memory + 4 * R * D;
    float *deltas = (float *)(streamed + stages * 2 * tile);
    const int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * R, head = blockIdx.y, own = threadIdx.x / 32 * 16, mine = first + own;
    const int g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const int key_head = head / (p.heads / p.key_value_heads);
    const element *key = p.joint + (i64)(p.heads + key_head) * D, *value = key + (i64)p.key_value_heads * D;
    const int end = first + R < p.rows ? first + R : p.rows, start = first_seen(p, first), last_start = first_seen(p, end - 1);
    auto load = [&](int from, int i) {
        u8 *to = streamed + i % stages * (2 * tile);
        load_tile<D, S, threads>(to, key, ld, from, end);
        load_tile<D, S, threads>(to + tile, value, ld, from, end);
        copies_commit();
    };
    load_tile<D, R, threads>(queries, p.joint + (i64)head * D, ld, first, end);
    load_tile<D, R, threads>(gradients, p.d_out + (i64)head * D, wide, first, end);
    copies_commit();
    if (stages == 2) {
        load(start, 0);
        copies_wait<1>();
    } else {
        copies_wait<0>();
    }
    block_barrier();
    form_delta<D, R>(p, gradients, deltas, first, head, own);
    float lse[2], delta[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int local = own + 8 * h + g8;
        delta[h] = deltas[local];
        lse[h] = first + local < p.rows ? p.lse[(i64)head * p.rows + first + local] * LOG2E : 0;
    }
    int seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) seen[h] = mine + 8 * h + g8 < p.rows ? first_seen(p, mine + 8 * h + g8) : 0;
    float dq[D / 8][4] = {};
    for (int from = start, i = 0; from < end; from += S, i++) {
        if (stages == 1) {
            block_barrier();
            load(from, i);
        }
        copies_wait<0>();
        tiles_visible();
        block_barrier();
        if (stages == 2 && from + S < end) load(from + S, i + 1);
        u8 *keys = streamed + i % stages * (2 * tile);
#pragma unroll
        for (int part = 0; part < S; part += N) {
            const int at = from + part;
            if ((!HOPPER && at >= mine + 16) || at >= end) continue;
            float s[N / 8][4], dp[N / 8][4];
            products_begin();
            SCORES<D, N, S, R>(s, queries, own, keys, part);
            if (overlaps) products_commit();
            SCORES<D, N, S, R>(dp, gradients, own, keys + tile, part);
            products_commit();
            products_wait<overlaps, N / 8>(s);
            if (!overlaps) products_wait<0, N / 8>(dp);
#pragma unroll
            for (int j = 0; j < N / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float slope = weigh<capped>(p, s[j][e], lse[e / 2]);
                    if (!overlaps) dp[j][e] = s[j][e] * (dp[j][e] - delta[e / 2]) * slope;
                }
            if (overlaps) {
                products_wait<0, N / 8>(dp);
#pragma unroll
                for (int j = 0; j < N / 8; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++) dp[j][e] = s[j][e] * (dp[j][e] - delta[e / 2]);
            }
            if (at + N - 1 > mine || last_start > at) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const int row = mine + 8 * h + g8;
#pragma unroll
                    for (int j = 0; j < N / 8; j++)
#pragma unroll
                        for (int e = 0; e < 2; e++) {
                            const int u = at + 8 * j + 2 * t + e;
                            if (u > row || u < seen[h]) dp[j][2 * h + e] = 0;
                        }
                }
            }
            u32 ds[N / 16][4];
            narrowed<N>(ds, dp);
            products_begin();
            ACCUMULATE<D, N, S>(dq, ds, keys, part);
            products_end<D / 8>(dq);
        }
    }
    rotate_back<D>(p, dq, mine);
    store_rows<D>(dq, p.scale, p.scale, p.d_joint + (i64)head * D, ld, mine, p.rows);
}

/// Blocks of several times 2 R threads: each 2 R threads, a share, take every `shares`-th query head of the group, and what the shares found is added in
/// their order.
template <int D, int S, bool capped> DEVICE void backward_kv(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { R = Streamed<D>::own_keys, threads = 2 * R, tile = 2 * S * D, N = HOPPER ? 64 : 32, overlaps = D == 128 && !capped };
    // Tiles at multiples of 1,024 bytes; lse, delta and segments of the streamed rows behind all of them.
    const int shares = blockDim.x / threads, share = threadIdx.x / threads, thread = threadIdx.x % threads;
    u8 *keys = memory, *values = memory + 2 * R * D, *all = memory + 4 * R * D, *streamed = all + share * (stages * 2 * tile);
    u8 *beside = all + shares * (stages * 2 * tile) + share * (stages * 12 * S);
    // All heads' first keys first: most queries see them, so these blocks take longest.
    const int first = blockIdx.y * R, key_head = blockIdx.x, own = thread / 32 * 16, mine = first + own;
    const int t = threadIdx.x % 4;
    const int group = p.heads / p.key_value_heads;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const i64 key = (i64)(p.heads + key_head) * D, value = key + (i64)p.key_value_heads * D;
    const int last = (first + R < p.rows ? first + R : p.rows) - 1;
    if (share == 0) {
        load_tile<D, R, threads>(keys, p.joint + key, ld, first, p.rows);
        load_tile<D, R, threads>(values, p.joint + value, ld, first, p.rows);
    }
    const int tiles = seeing_tiles<S>(p, first, last), count = tiles * group / shares;
    auto load = [&](int i) {
        u8 *to = streamed + i % stages * (2 * tile);
        const int head = key_head * group + i / tiles * shares + share, from = first + i % tiles * S;
        load_tile<D, S, threads>(to, p.joint + (i64)head * D, ld, from, p.rows, thread);
        load_tile<D, S, threads>(to + tile, p.d_out + (i64)head * D, wide, from, p.rows, thread);
        load_beside<S>(p, beside + i % stages * (12 * S), head, from, thread);
        copies_commit();
    };
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    if (stages == 2) load(0);
    for (int i = 0; i < count; i++) {
        if (stages == 1) {
            block_barrier();
            load(i);
        }
        copies_wait<0>();
        tiles_visible();
        block_barrier();
        if (stages == 2 && i + 1 < count) load(i + 1);
        u8 *queries = streamed + i % stages * (2 * tile), *gradients = queries + tile;
        const float *lse = (const float *)(beside + i % stages * (12 * S)), *delta = lse + S;
        const int *starts = (const int *)(delta + S);
        const int from = first + i % tiles * S;
#pragma unroll
        for (int part = 0; part < S; part += N) {
            const int at = from + part;
            if ((!HOPPER && at + N - 1 < mine) || at >= p.rows) continue;
            // Overlapping, the weights are formed while dp is multiplied, ds while dv is.
            float s[N / 8][4], dp[N / 8][4];
            products_begin();
            SCORES<D, N, S, R>(s, keys, own, queries, part);
            if (overlaps) products_commit();
            SCORES<D, N, S, R>(dp, values, own, gradients, part);
            products_commit();
            products_wait<overlaps, N / 8>(s);
            if (!overlaps) products_wait<0, N / 8>(dp);
#pragma unroll
            for (int j = 0; j < N / 8; j++) {
                const float2 l = *(const float2 *)(lse + part + 8 * j + 2 * t), d = *(const float2 *)(delta + part + 8 * j + 2 * t);
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float slope = weigh<capped>(p, s[j][e], (e % 2 ? l.y : l.x) * LOG2E);
                    if (!overlaps) dp[j][e] = s[j][e] * (dp[j][e] - (e % 2 ? d.y : d.x)) * slope;
                }
            }
            // A weight of zero makes ds zero.
            mask_queries<N>(p, s, overlaps ? s : dp, at, mine, starts + part);
            u32 weights[N / 16][4], ds[N / 16][4];
            narrowed<N>(weights, s);
            if (overlaps) {
                products_begin();
                ACCUMULATE<D, N, S>(dv, weights, gradients, part);
                products_commit();
                products_wait<1, N / 8>(dp);
#pragma unroll
                for (int j = 0; j < N / 8; j++) {
                    const float2 d = *(const float2 *)(delta + part + 8 * j + 2 * t);
#pragma unroll
                    for (int e = 0; e < 4; e++) dp[j][e] = s[j][e] * (dp[j][e] - (e % 2 ? d.y : d.x));
                }
            }
            narrowed<N>(ds, dp);
            products_begin();
            if (!overlaps) ACCUMULATE<D, N, S>(dv, weights, gradients, part);
            ACCUMULATE<D, N, S>(dk, ds, queries, part);
            products_end<D / 8>(dv);
            products_end<D / 8>(dk);
        }
    }
    if (shares > 1) {
        // The streamed tiles are free: a share's sums take 8 R D bytes, as many as two stages of 64 rows.
        static_assert(HOPPER == 0 || stages * 2 * tile >= 8 * R * D, "sums of a share");
        float *sums = (float *)all + thread;
        block_barrier();
        if (share > 0) {
#pragma unroll
            for (int j = 0; j < D / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    sums[((share - 1) * (D / 2) + 4 * j + e) * 2 * threads] = dk[j][e];
                    sums[((share - 1) * (D / 2) + 4 * j + e) * 2 * threads + threads] = dv[j][e];
                }
        }
        block_barrier();
        if (share > 0) return;
        for (int other = 0; other + 1 < shares; other++) {
#pragma unroll
            for (int j = 0; j < D / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    dk[j][e] += sums[(other * (D / 2) + 4 * j + e) * 2 * threads];
                    dv[j][e] += sums[(other * (D / 2) + 4 * j + e) * 2 * threads + threads];
                }
        }
    }
    rotate_back<D>(p, dk, mine);
    store_rows<D>(dk, p.scale, p.scale, p.d_joint + key, ld, mine, p.rows);
    store_rows<D>(dv, 1, 1, p.d_joint + value, ld, mine, p.rows);
}

/// backward_kv for heads whose dk and dv one warp cannot hold. The block's first half makes the weights and from them dv, the second dp,
/// ds and dk. Thread i of either half has the same places of its fragments: the weights, times the soft cap's slope, pass word by word.
template <int D, int S, bool capped> DEVICE void backward_kv_by_halves(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { R = Streamed<D>::own_keys, threads = 4 * R, tile = 2 * S * D };
    const int second = threadIdx.x / (2 * R), local = threadIdx.x % (2 * R);
    u8 *keys = memory, *values = memory + 2 * R * D, *streamed = memory + 4 * R * D, *beside = streamed + stages * 2 * tile;
    u32 *passed = (u32 *)(beside + stages * 12 * S) + local;
    const int first = blockIdx.y * R, key_head = blockIdx.x, own = local / 32 * 16, mine = first + own, t = threadIdx.x % 4;
    const int group = p.heads / p.key_value_heads;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const i64 key = (i64)(p.heads + key_head) * D, value = key + (i64)p.key_value_heads * D;
    const int last = (first + R < p.rows ? first + R : p.rows) - 1;
    load_tile<D, R, threads>(keys, p.joint + key, ld, first, p.rows);
    load_tile<D, R, threads>(values, p.joint + value, ld, first, p.rows);
    const int tiles = seeing_tiles<S>(p, first, last), count = tiles * group;
    auto load = [&](int i) {
        u8 *to = streamed + i % stages * (2 * tile);
        const int head = key_head * group + i / tiles, from = first + i % tiles * S;
        load_tile<D, S, threads>(to, p.joint + (i64)head * D, ld, from, p.rows);
        load_tile<D, S, threads>(to + tile, p.d_out + (i64)head * D, wide, from, p.rows);
        load_beside<S>(p, beside + i % stages * (12 * S), head, from);
        copies_commit();
    };
    float sum[D / 8][4] = {};
    if (stages == 2) load(0);
    for (int i = 0; i < count; i++) {
        if (stages == 1) {
            block_barrier();
            load(i);
        }
        copies_wait<0>();
        tiles_visible();
        block_barrier();
        if (stages == 2 && i + 1 < count) load(i + 1);
        u8 *queries = streamed + i % stages * (2 * tile), *gradients = queries + tile;
        const float *lse = (const float *)(beside + i % stages * (12 * S)), *delta = lse + S;
        const int from = first + i % tiles * S;
        const bool seen = HOPPER || from + S > mine;
        float s[S / 8][4];
        u32 words[S / 16][4];
        if (seen) {
            products_begin();
            SCORES<D, S, S, R>(s, second ? values : keys, own, second ? gradients : queries, 0);
            products_end<S / 8>(s);
        }
        if (seen && !second) {
            float bent[S / 8][4];
#pragma unroll
            for (int j = 0; j < S / 8; j++) {
                const float2 l = *(const float2 *)(lse + 8 * j + 2 * t);
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float slope = weigh<capped>(p, s[j][e], (e % 2 ? l.y : l.x) * LOG2E);
                    bent[j][e] = capped ? s[j][e] * slope : s[j][e];
                }
            }
            mask_queries<S>(p, s, bent, from, mine, (const int *)(delta + S));
            narrowed<S>(words, bent);
#pragma unroll
            for (int k = 0; k < S / 4; k++) passed[k * 2 * R] = words[k / 4][k % 4];
            if (capped) narrowed<S>(words, s);
        }
        block_barrier();
        if (seen && second) {
#pragma unroll
            for (int j = 0; j < S / 8; j++) {
                const float2 d = *(const float2 *)(delta + 8 * j + 2 * t);
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    // narrowed: rows g and g + 8 of eight columns are two words.
                    const u32 word = passed[(2 * j + h) * 2 * R];
                    s[j][2 * h] = unpack_low<element>(word) * (s[j][2 * h] - d.x);
                    s[j][2 * h + 1] = unpack_high<element>(word) * (s[j][2 * h + 1] - d.y);
                }
            }
            narrowed<S>(words, s);
        }
        if (seen) {
            products_begin();
            ACCUMULATE<D, S, S>(sum, words, second ? queries : gradients, 0);
            products_end<D / 8>(sum);
        }
    }
    if (second) rotate_back<D>(p, sum, mine);
    const float factor = second ? p.scale : 1;
    store_rows<D>(sum, factor, factor, p.d_joint + (second ? key : value), ld, mine, p.rows);
}

#define ATTENTION(name) JOINED(attention_, name)
// Compiled for one head size (-DHEAD=) and with or without a soft cap (-DCAPPED=), for it takes seconds; without them for all.
#ifdef CAPPED
#define EITHER(name, ...) name<__VA_ARGS__, CAPPED != 0>(p)
#else
#define EITHER(name, ...) if (p.soft_cap > 0) name<__VA_ARGS__, true>(p); else name<__VA_ARGS__, false>(p)
#endif
#if !defined(HEAD) || HEAD == 64
#if HOPPER
KERNEL_OF_MANY(256, 2, ATTENTION(forward_64), AttentionArguments) { EITHER(group_forward, 64, 2, false); }
KERNEL_OF_MANY(512, 1, ATTENTION(forward_64_by_four), AttentionArguments) { EITHER(group_forward, 64, 4, true); }
KERNEL_OF_MANY(256, 2, ATTENTION(backward_q_64), AttentionArguments) { EITHER(group_backward_q, 64, 2, false, false); }
KERNEL_OF_MANY(256, 1, ATTENTION(backward_kv_64), AttentionArguments) { EITHER(group_backward_kv, 64, 2, true); }
KERNEL_OF_MANY(128, 4, ATTENTION(forward_64_few), AttentionArguments) { EITHER(forward, 64, Streamed<64>::forward); }
KERNEL_OF_MANY(128, 4, ATTENTION(backward_q_64_few), AttentionArguments) { EITHER(backward_q, 64, Streamed<64>::backward_q); }
KERNEL_OF_MANY(384, 1, ATTENTION(backward_kv_64_few), AttentionArguments) { EITHER(backward_kv, 64, Streamed<64>::backward_kv); }
#else
KERNEL_OF_MANY(128, 1, ATTENTION(forward_64), AttentionArguments) { EITHER(forward, 64, Streamed<64>::forward); }
KERNEL_OF_MANY(128, 1, ATTENTION(backward_q_64), AttentionArguments) { EITHER(backward_q, 64, Streamed<64>::backward_q); }
KERNEL_OF_MANY(128, 1, ATTENTION(backward_kv_64), AttentionArguments) { EITHER(backward_kv, 64, Streamed<64>::backward_kv); }
#endif
#endif
#if !defined(HEAD) || HEAD == 128
#if HOPPER
KERNEL_OF_MANY(256, 1, ATTENTION(forward_128), AttentionArguments) { EITHER(group_forward, 128, 2, true); }
KERNEL_OF_MANY(256, 1, ATTENTION(backward_q_128), AttentionArguments) { EITHER(group_backward_q, 128, 2, true, true); }
KERNEL_OF_MANY(256, 1, ATTENTION(backward_kv_128), AttentionArguments) { EITHER(group_backward_kv, 128, 2, false); }
#else
KERNEL_OF_MANY(128, 1, ATTENTION(forward_128), AttentionArguments) { EITHER(forward, 128, Streamed<128>::forward); }
KERNEL_OF_MANY(128, 1, ATTENTION(backward_q_128), AttentionArguments) { EITHER(backward_q, 128, Streamed<128>::backward_q); }
KERNEL_OF_MANY(128, 1, ATTENTION(backward_kv_128), AttentionArguments) { EITHER(backward_kv, 128, Streamed<128>::backward_kv); }
#endif
#endif
#if !defined(HEAD) || HEAD == 256
KERNEL_OF_MANY(128, HOPPER ? 2 : 1, ATTENTION(forward_256), AttentionArguments) { EITHER(forward, 256, Streamed<256>::forward); }
KERNEL_OF_MANY(128, 1, ATTENTION(backward_q_256), AttentionArguments) { EITHER(backward_q, 256, Streamed<256>::backward_q); }
KERNEL_OF_MANY(256, 1, ATTENTION(backward_kv_256), AttentionArguments) { EITHER(backward_kv_by_halves, 256, Streamed<256>::backward_kv); }
#endif
#undef EITHER
#undef SCORES
#undef ACCUMULATE

#endif
