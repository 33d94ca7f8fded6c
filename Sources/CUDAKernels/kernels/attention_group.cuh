// Causal attention by warpgroups (wgmma, HOPPER), head sizes 64 and 128: formulas as in attention_any.cu, tricks as in attention.cu and two more.
//
// Sharing: two or four warpgroups of a block share what is streamed. Query heads that share a key head stand in one block where their count
// divides (`together`): all have the same work; else the warpgroups have rows one after the other.
//
// Overlap (Shah et al. 2024, arXiv:2407.08608): the next tile's scores are multiplied while this tile's weights meet the values. The warps of a
// block may be one step apart (`step`), so there are five stages of tiles: two in use, one more by warps a step behind, one landed, one on its
// way. For heads of 64 warpgroups give out products in turn, so that one's arithmetic meets another's products; wider heads lose by it.
//
// Fewer instructions: values that are equal in all threads of a warp are marked so (`warp_uniform`), and the compiler keeps the matrix descriptors
// in uniform registers; a copy's address is advanced from tile to tile (TileStream) and not formed anew; sums are rescaled only where the maximum
// of one of the warp's rows rose.
#pragma once
#include "attention.cuh"

#if TYPE != 0 && (HOPPER || defined(LORIKEET_EMULATED))

/// What a warpgroup of a block by queries has.
struct OwnQueries {
    int head;    // its query head
    int first;   // its first row; may lie behind the last row
    int block_first, block_end;  // rows of the whole block
    int mine;    // first of the warp's 16 rows
};
template <int W> DEVICE OwnQueries own_queries(const AttentionArguments &p) {
    const int group = warp_uniform(threadIdx.x / 128);
    const bool together = p.heads / p.key_value_heads % W == 0;
    // The rows of a segment's end first: they take longest.
    const int rows = together ? 64 : 64 * W, block_first = ((int)gridDim.x - 1 - (int)blockIdx.x) * rows;
    OwnQueries own;
    own.head = together ? blockIdx.y * W + group : blockIdx.y;
    own.first = block_first + (together ? 0 : 64 * group);
    own.block_first = block_first;
    own.block_end = block_first + rows < p.rows ? block_first + rows : p.rows;
    own.mine = own.first + threadIdx.x % 128 / 32 * 16;
    return own;
}

/// The warp's 16 rows of a tile of 64 as fragments of A.
template <int D> DEVICE void load_own(u32 (*a)[4], u8 *tile) {
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_a<64>(a[k], tile, threadIdx.x % 128 / 32 * 16, 16 * k);
}

/// One tile's scores [16, N] of keys from `from` on become weights (see online_softmax); `keep` is what the rows' sums are to be multiplied with.
template <int N, bool capped>
DEVICE void tile_weights(
    const AttentionArguments &p, float (*s)[4], int from, int mine, int last_start, const int *seen, float *most, float *total, float *keep) {
    const int g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const float factor = capped ? p.soft_cap * LOG2E : p.scale * LOG2E;
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
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float higher = quad_max(row_max<N>(s, h, most[h]));
        // A row that saw nothing yet has no largest score: its weights are 2^(UNSEEN * factor), none.
        const float base = higher > 0.1f * UNSEEN ? higher * factor : 0;
        keep[h] = exp2_fast(most[h] * factor - base);
        most[h] = higher;
        float part = 0;
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            s[j][2 * h] = exp2_fast(fmaf(s[j][2 * h], factor, -base));
            s[j][2 * h + 1] = exp2_fast(fmaf(s[j][2 * h + 1], factor, -base));
            part += s[j][2 * h] + s[j][2 * h + 1];
        }
        total[h] = total[h] * keep[h] + part;
    }
}

/// W warpgroups; `held`: the own rows are held in registers.
template <int D, int W, bool held, bool capped> DEVICE void group_forward(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { N = 64, threads = 128 * W, tile = 2 * N * D, ordered = D == 64 ? W : 1 };
    const OwnQueries own = own_queries<W>(p);
    u8 *queries = memory + warp_uniform(threadIdx.x / 128) * (128 * D), *streamed = memory + W * 128 * D;
    u64 *steps = (u64 *)(streamed + 5 * 2 * tile);
    const int mine = own.mine, g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D;
    const element *key = p.joint + (i64)(p.heads + own.head / (p.heads / p.key_value_heads)) * D, *value = key + (i64)p.key_value_heads * D;
    const int start = warp_uniform(first_seen(p, own.block_first)), tiles = (own.block_end - start + N - 1) / N;
    // A warpgroup behind the last row does one as well, for nothing.
    const int end = own.first + 64 < p.rows ? own.first + 64 : p.rows, own_tiles = (end - start + N - 1) / N, last_start = first_seen(p, end - 1);
    auto keys_from = TileStream<D, N, threads>::at(key, ld, start);
    const i64 to_values = value - key;
    int load_at = 0;
    auto load = [&](int i) {
        if (i < tiles) {
            u8 *to = streamed + load_at * (2 * tile);
            auto values_from = keys_from;
            values_from.from += to_values;
            values_from.copy(to + tile, own.block_end);
            keys_from.copy(to, own.block_end);
            load_at = load_at == 4 ? 0 : load_at + 1;
        }
        copies_commit();
    };
    load_tile<D, 64>(queries, p.joint + (i64)own.head * D, ld, own.first, p.rows, threadIdx.x % 128);
    load(0);
    load(1);
    load(2);
    steps_begin(steps);
    int seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) seen[h] = mine + 8 * h + g8 < p.rows ? first_seen(p, mine + 8 * h + g8) : 0;
    float sum[D / 8][4] = {}, most[2] = {UNSEEN, UNSEEN}, total[2] = {0, 0}, keep[2], s[N / 8][4];
    u32 weights[N / 16][4], a[held ? D / 16 : 1][4];
    copies_wait<1>();
    tiles_visible();
    block_barrier();
    if constexpr (held) load_own<D>(a, queries);
    auto scores = [&](u8 *keys) {
        if constexpr (held) group_scores<D, N, N>(s, a, keys, 0);
        else group_scores<D, N, N>(s, queries, 0, keys, 0);
    };
    products_begin();
    scores(streamed);
    products_end<N / 8>(s);
    tile_weights<N, capped>(p, s, start, mine, last_start, seen, most, total, keep);
    narrowed<N>(weights, s);
    order_begin<ordered>();
    auto turn = [&](int i) {
        copies_wait<0>();
        tiles_visible();
        step(steps, i);
        load(i + 3);
        order_take<ordered>();
    };
    int at = 0;
    for (int i = 0; i + 1 < own_tiles; i++) {
        turn(i);
        u8 *values = streamed + at * (2 * tile) + tile;
        at = at == 4 ? 0 : at + 1;
        products_begin();
        scores(streamed + at * (2 * tile));
        products_commit();
        group_accumulate<D, N, N>(sum, weights, values, 0);
        products_commit();
        order_pass<ordered>();
        products_wait<1, N / 8>(s);
        tile_weights<N, capped>(p, s, start + (i + 1) * N, mine, last_start, seen, most, total, keep);
        formed(total[0] + total[1]);
        products_wait<0, D / 8>(sum);
        if (!warp_all(keep[0] == 1 && keep[1] == 1)) {
#pragma unroll
            for (int j = 0; j < D / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sum[j][e] *= keep[e / 2];
        }
        narrowed<N>(weights, s);
    }
    products_begin();
    group_accumulate<D, N, N>(sum, weights, streamed + at * (2 * tile) + tile, 0);
    products_end<D / 8>(sum);
    for (int i = own_tiles; i < tiles; i++) {
        turn(i - 1);
        order_pass<ordered>();
    }
    const float factor = capped ? p.soft_cap * LOG2E : p.scale * LOG2E;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        total[h] = quad_sum(total[h]);
        const int row = mine + 8 * h + g8;
        if (t == 0 && row < p.rows) p.lse[(i64)own.head * p.rows + row] = most[h] * factor * LN2 + logf(total[h]);
    }
    store_rows<D>(sum, 1 / total[0], 1 / total[1], p.out + (i64)own.head * D, (i64)p.heads * D, mine, p.rows);
}

/// dq and delta. `ahead`: the next tile's scores are multiplied beside this tile's sum, for registers enough.
template <int D, int W, bool held, bool ahead, bool capped> DEVICE void group_backward_q(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { N = 64, threads = 128 * W, tile = 2 * N * D, ordered = D == 64 ? W : 1 };
    const OwnQueries own = own_queries<W>(p);
    const int group = warp_uniform(threadIdx.x / 128);
    u8 *queries = memory + group * (128 * D), *gradients = queries + W * 128 * D, *streamed = memory + W * 256 * D;
    u64 *steps = (u64 *)(streamed + 5 * 2 * tile);
    float *deltas = (float *)(steps + 2) + 64 * group;
    const int mine = own.mine, g8 = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const element *key = p.joint + (i64)(p.heads + own.head / (p.heads / p.key_value_heads)) * D, *value = key + (i64)p.key_value_heads * D;
    const int start = warp_uniform(first_seen(p, own.block_first)), tiles = (own.block_end - start + N - 1) / N;
    // A warpgroup behind the last row does one as well, for nothing.
    const int end = own.first + 64 < p.rows ? own.first + 64 : p.rows, own_tiles = (end - start + N - 1) / N, last_start = first_seen(p, end - 1);
    auto keys_from = TileStream<D, N, threads>::at(key, ld, start);
    const i64 to_values = value - key;
    int load_at = 0;
    auto load = [&](int i) {
        if (i < tiles) {
            u8 *to = streamed + load_at * (2 * tile);
            auto values_from = keys_from;
            values_from.from += to_values;
            values_from.copy(to + tile, own.block_end);
            keys_from.copy(to, own.block_end);
            load_at = load_at == 4 ? 0 : load_at + 1;
        }
        copies_commit();
    };
    load_tile<D, 64>(queries, p.joint + (i64)own.head * D, ld, own.first, p.rows, threadIdx.x % 128);
    load_tile<D, 64>(gradients, p.d_out + (i64)own.head * D, wide, own.first, p.rows, threadIdx.x % 128);
    load(0);
    load(1);
    load(2);
    steps_begin(steps);
    int seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) seen[h] = mine + 8 * h + g8 < p.rows ? first_seen(p, mine + 8 * h + g8) : 0;
    copies_wait<1>();
    tiles_visible();
    block_barrier();
    form_delta<D, 64>(p, gradients, deltas, own.first, own.head, threadIdx.x % 128 / 32 * 16);
    float lse[2], delta[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = mine + 8 * h + g8;
        delta[h] = deltas[row - own.first];
        lse[h] = row < p.rows ? p.lse[(i64)own.head * p.rows + row] * LOG2E : 0;
    }
    u32 a[held ? D / 16 : 1][4], b[held ? D / 16 : 1][4], ds[N / 16][4];
    if constexpr (held) {
        load_own<D>(a, queries);
        load_own<D>(b, gradients);
    }
    auto scores = [&](float (*c)[4], bool second, u8 *tile) {
        if constexpr (held) group_scores<D, N, N>(c, second ? b : a, tile, 0);
        else group_scores<D, N, N>(c, second ? gradients : queries, 0, tile, 0);
    };
    float dq[D / 8][4] = {}, s[N / 8][4], dp[N / 8][4];
    order_begin<ordered>();
    auto turn = [&](int i) {
        copies_wait<0>();
        tiles_visible();
        step(steps, i);
        load(i + 3);
        order_take<ordered>();
    };
    auto form = [&](int from) {
        products_wait<1, N / 8>(s);
        float slope[capped ? N / 8 : 1][4];
#pragma unroll
        for (int j = 0; j < N / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const float bent = weigh<capped>(p, s[j][e], lse[e / 2]);
                if (capped) slope[capped ? j : 0][e] = bent;
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
                        if (u > row || u < seen[h]) s[j][2 * h + e] = 0;
                    }
            }
        }
        formed<N / 8>(s);
        products_wait<0, N / 8>(dp);
        products_wait<0, D / 8>(dq);
#pragma unroll
        for (int j = 0; j < N / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                dp[j][e] = s[j][e] * (dp[j][e] - delta[e / 2]);
                if (capped) dp[j][e] *= slope[capped ? j : 0][e];
            }
        narrowed<N>(ds, dp);
    };
    if constexpr (!ahead) {
        int at = 0;
        for (int i = 0; i < own_tiles; i++) {
            turn(i);
            u8 *keys = streamed + at * (2 * tile);
            at = at == 4 ? 0 : at + 1;
            products_begin();
            scores(s, false, keys);
            products_commit();
            scores(dp, true, keys + tile);
            products_commit();
            order_pass<ordered>();
            form(start + i * N);
            products_begin();
            group_accumulate<D, N, N>(dq, ds, keys, 0);
            products_end<D / 8>(dq);
        }
        for (int i = own_tiles; i < tiles; i++) {
            turn(i);
            order_pass<ordered>();
        }
    } else {
        products_begin();
        scores(s, false, streamed);
        products_commit();
        scores(dp, true, streamed + tile);
        products_commit();
        form(start);
        int at = 0;
        for (int i = 0; i + 1 < own_tiles; i++) {
            turn(i);
            u8 *keys = streamed + at * (2 * tile);
            at = at == 4 ? 0 : at + 1;
            u8 *next = streamed + at * (2 * tile);
            products_begin();
            scores(s, false, next);
            products_commit();
            group_accumulate<D, N, N>(dq, ds, keys, 0);
            scores(dp, true, next + tile);
            products_commit();
            order_pass<ordered>();
            form(start + (i + 1) * N);
        }
        products_begin();
        group_accumulate<D, N, N>(dq, ds, streamed + at * (2 * tile), 0);
        products_end<D / 8>(dq);
        for (int i = own_tiles; i < tiles; i++) {
            turn(i - 1);
            order_pass<ordered>();
        }
    }
    rotate_back<D>(p, dq, mine);
    store_rows<D>(dq, p.scale, p.scale, p.d_joint + (i64)own.head * D, ld, mine, p.rows);
}

/// dk and dv of 64 W keys, over all query heads of the group. `held`: the keys and values are held in registers.
template <int D, int W, bool held, bool capped> DEVICE void group_backward_kv(const AttentionArguments &p) {
    DYNAMIC_SHARED(memory);
    enum { S = 64, N = 64, R = 64 * W, threads = 128 * W, tile = 2 * S * D, ordered = D == 64 ? W : 1 };
    // Tiles at multiples of 1,024 bytes; lse, delta and segments of the streamed rows behind all of them.
    const int warpgroup = warp_uniform(threadIdx.x / 128);
    u8 *keys = memory + warpgroup * (128 * D), *values = keys + W * 128 * D, *streamed = memory + 4 * R * D, *beside = streamed + 5 * 2 * tile;
    u64 *steps = (u64 *)(beside + 5 * 8 * S);
    // All heads' first keys first: most queries see them, so these blocks take longest.
    const int first = blockIdx.y * R, own = first + 64 * warpgroup, key_head = blockIdx.x, mine = own + threadIdx.x % 128 / 32 * 16;
    const int t = threadIdx.x % 4;
    const int group = p.heads / p.key_value_heads;
    const i64 ld = (i64)(p.heads + 2 * p.key_value_heads) * D, wide = (i64)p.heads * D;
    const i64 key = (i64)(p.heads + key_head) * D, value = key + (i64)p.key_value_heads * D;
    const int last = (first + R < p.rows ? first + R : p.rows) - 1;
    load_tile<D, 64>(keys, p.joint + key, ld, own, p.rows, threadIdx.x % 128);
    load_tile<D, 64>(values, p.joint + value, ld, own, p.rows, threadIdx.x % 128);
    const int tiles = warp_uniform(seeing_tiles<S>(p, first, last)), count = tiles * group;
    int load_head = key_head * group, load_from = first, load_at = 0;
    auto queries_from = TileStream<D, S, threads>::at(p.joint + (i64)load_head * D, ld, first);
    auto gradients_from = TileStream<D, S, threads>::at(p.d_out + (i64)load_head * D, wide, first);
    auto load = [&](int i) {
        if (i < count) {
            u8 *to = streamed + load_at * (2 * tile);
            queries_from.copy(to, p.rows);
            gradients_from.copy(to + tile, p.rows);
            if (threadIdx.x < S) {
                const bool inside = load_from + (int)threadIdx.x < p.rows;
                const i64 number = (i64)load_head * p.rows + (inside ? load_from + (int)threadIdx.x : 0);
                u8 *numbers = beside + load_at * (8 * S) + 4 * threadIdx.x;
                copy_async_word(numbers, p.lse + number, inside);
                copy_async_word(numbers + 4 * S, p.delta + number, inside);
            }
            load_from += S;
            if (load_from >= first + tiles * S) {
                load_from = first;
                load_head++;
                queries_from = TileStream<D, S, threads>::at(p.joint + (i64)load_head * D, ld, first);
                gradients_from = TileStream<D, S, threads>::at(p.d_out + (i64)load_head * D, wide, first);
            }
            load_at = load_at == 4 ? 0 : load_at + 1;
        }
        copies_commit();
    };
    load(0);
    load(1);
    load(2);
    steps_begin(steps);
    int seeing[2];
    last_seeing(p, mine, seeing);
    const int clear = warp_uniform(seeing[0]);  // what the warp's first key is seen by, all are
    float dk[D / 8][4] = {}, dv[D / 8][4] = {}, s[N / 8][4], dp[N / 8][4];
    u32 a[held ? D / 16 : 1][4], b[held ? D / 16 : 1][4];
    copies_wait<1>();
    tiles_visible();
    block_barrier();
    if constexpr (held) {
        load_own<D>(a, keys);
        load_own<D>(b, values);
    }
    auto scores = [&](float (*c)[4], bool second, u8 *tile) {
        if constexpr (held) group_scores<D, N, S>(c, second ? b : a, tile, 0);
        else group_scores<D, N, S>(c, second ? values : keys, 0, tile, 0);
    };
    u32 weights[N / 16][4], ds[N / 16][4];
    int from = first, at = 0;
    // Weights and ds of tile `at`, whose scores are under way.
    auto form = [&]() {
        const float *lse = (const float *)(beside + at * (8 * S)), *delta = lse + S;
        products_wait<1, N / 8>(s);
        float slope[capped ? N / 8 : 1][4];
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            const float2 l = *(const float2 *)(lse + 8 * j + 2 * t);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const float bent = weigh<capped>(p, s[j][e], (e % 2 ? l.y : l.x) * LOG2E);
                if (capped) slope[capped ? j : 0][e] = bent;
            }
        }
        // A weight of zero makes ds zero.
        if (from < mine + 15 || from + N - 1 > clear) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int key = mine + 8 * h + threadIdx.x % 32 / 4;
#pragma unroll
                for (int j = 0; j < N / 8; j++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int row = from + 8 * j + 2 * t + e;
                        if (row < key || row > seeing[h]) s[j][2 * h + e] = 0;
                    }
            }
        }
        formed<N / 8>(s);
        products_wait<0, N / 8>(dp);
        products_wait<0, D / 8>(dk);
        products_wait<0, D / 8>(dv);
        narrowed<N>(weights, s);
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            const float2 d = *(const float2 *)(delta + 8 * j + 2 * t);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                dp[j][e] = s[j][e] * (dp[j][e] - (e % 2 ? d.y : d.x));
                if (capped) dp[j][e] *= slope[capped ? j : 0][e];
            }
        }
        narrowed<N>(ds, dp);
    };
    order_begin<ordered>();
    auto turn = [&](int i) {
        copies_wait<0>();
        tiles_visible();
        step(steps, i);
        load(i + 3);
        order_take<ordered>();
    };
    products_begin();
    scores(s, false, streamed);
    products_commit();
    scores(dp, true, streamed + tile);
    products_commit();
    form();
    for (int i = 0; i + 1 < count; i++) {
        turn(i);
        u8 *queries = streamed + at * (2 * tile), *gradients = queries + tile;
        at = at == 4 ? 0 : at + 1;
        from = from + S >= first + tiles * S ? first : from + S;
        u8 *next = streamed + at * (2 * tile);
        products_begin();
        scores(s, false, next);
        products_commit();
        group_accumulate<D, N, S>(dv, weights, gradients, 0);
        scores(dp, true, next + tile);
        group_accumulate<D, N, S>(dk, ds, queries, 0);
        products_commit();
        order_pass<ordered>();
        form();
    }
    products_begin();
    group_accumulate<D, N, S>(dv, weights, streamed + at * (2 * tile) + tile, 0);
    group_accumulate<D, N, S>(dk, ds, streamed + at * (2 * tile), 0);
    products_end<D / 8>(dk);
    products_wait<0, D / 8>(dv);
    rotate_back<D>(p, dk, mine);
    store_rows<D>(dk, p.scale, p.scale, p.d_joint + key, ld, mine, p.rows);
    store_rows<D>(dv, 1, 1, p.d_joint + value, ld, mine, p.rows);
}

#endif
