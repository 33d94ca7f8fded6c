// Tiles of 16-bit elements in shared memory and products out of them, by warps (mma) or, on compute capability 9.0 with its own features
// (sm_90a, HOPPER 1), by a warpgroup of 128 threads (wgmma); with two bodies like device.cuh.
//
// A tile is R rows of 128 bytes (64 elements), eight rows to 1,024 bytes, at a multiple of 1,024; the 16-byte pieces of row r stand at
// piece ^ (r % 8): ldmatrix meets no bank twice, and it is wgmma's 128-byte swizzle (PTX ISA, "Asynchronous warpgroup level matrix
// instructions"). Wider rows are parts of 64 columns one after the other, each of all rows.
//
// Fragments of a thread are mma_16816's; of a group's products those of the 16 rows of its warp: rows 16 w + g and + 8.
// A group's products are asynchronous: products_begin, some calls, products_end; sums, fragments and tiles are not touched in between.
// Where something is done meanwhile, products_commit ends a batch of calls, and products_wait<n> waits until at most the last n batches run.
#pragma once
#include "device.cuh"

#ifndef HOPPER
#if !defined(LORIKEET_EMULATED) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1
#else
#define HOPPER 0
#endif
#endif

#if TYPE != 0

// ---- tiles ----

/// Address of 16 bytes (8 columns) of a tile of R rows in shared memory: rows of 64 columns, the parts of wider ones one after the other.
template <int R> DEVICE u8 *piece(u8 *tile, int row, int column) {
    return tile + column / 64 * (R * 128) + row * 128 + ((column % 64 / 8 ^ (row & 7)) * 16);
}

/// Starts copying `count` rows from `first` on, zeros from `end` on. `threads` take part, `thread` is the place among them.
template <int D, int count, int threads = 128>
DEVICE void load_tile(u8 *tile, const element *from, i64 ld, int first, int end, int thread = threadIdx.x) {
#pragma unroll
    for (int i = 0; i < (count * D / 8 + threads - 1) / threads; i++) {
        const int index = i * threads + thread, row = index / (D / 8), column = index % (D / 8) * 8;
        if (count * D / 8 % threads && index >= count * D / 8) continue;
        const bool inside = first + row < end;
        copy_async(piece<count>(tile, row, column), from + (i64)(inside ? first + row : first) * ld + column, inside);
    }
}

/// A thread's part in copying one tile of `count` rows after the other: addresses are counted on, not formed anew.
template <int D, int count, int threads> struct TileStream {
    enum { step = threads * 8 / D, pieces = (count + step - 1) / step };
    static_assert(step % 8 == 0, "a thread's pieces stand at the same place of their rows");
    const element *from;
    i64 ld;
    int row, place;
    /// Begins with row `first` of `rows`.
    DEVICE TileStream at(const element *rows, i64 ld, int first) {
        TileStream s;
        const int row = threadIdx.x / (D / 8), column = threadIdx.x % (D / 8) * 8;
        s.from = rows + (i64)(first + row) * ld + column;
        s.ld = ld;
        s.row = first + row;
        s.place = column / 64 * (count * 128) + row * 128 + ((column % 64 / 8 ^ (row & 7)) * 16);
        return s;
    }
    /// Starts copying the next tile, zeros from row `end` on.
    MEMBER void copy(u8 *tile, int end) {
#pragma unroll
        for (int k = 0; k < pieces; k++) {
            if (count % step && threadIdx.x / (D / 8) + k * step >= count) continue;
            copy_async(tile + place + k * (step * 128), from + k * step * ld, row + k * step < end);
        }
        from += count * ld;
        row += count;
    }
};

/// x [16, N] as fragments of A.
template <int N> DEVICE void narrowed(u32 (*a)[4], float (*x)[4]) {
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) a[k][i] = pack2<element>(x[2 * k + i / 2][i % 2 * 2], x[2 * k + i / 2][i % 2 * 2 + 1]);
}

// ---- by warps ----

// Fragments of a tile of R rows, rows from `row` on and columns from `column` on:
/// A of m16k16: 16 rows, 16 columns.
template <int R> DEVICE void load_a(u32 *a, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices(a, piece<R>(tile, row + lane % 16, column + lane / 16 * 8));
}
/// B of k16 (columns) by n16 (rows): b[0], b[1] for the first eight rows, b[2], b[3] for the others.
template <int R> DEVICE void load_b(u32 *b, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices(b, piece<R>(tile, row + lane / 16 * 8 + lane % 8, column + lane / 8 % 2 * 8));
}
/// B of k16 (rows) by n16 (columns).
template <int R> DEVICE void load_b_transposed(u32 *b, u8 *tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices_transposed(b, piece<R>(tile, row + lane % 16, column + lane / 16 * 8));
}

/// c [16, N] = the warp's own rows from `row` on (of O) times N rows of a tile of R rows from `from` on, over D columns.
template <int D, int N, int R, int O = 64> DEVICE void warp_scores(float (*c)[4], u8 *own, int row, u8 *tile, int from) {
#pragma unroll
    for (int j = 0; j < N / 8; j++) c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        u32 a[4];
        load_a<O>(a, own, row, k);
#pragma unroll
        for (int j = 0; j < N / 16; j++) {
            u32 b[4];
            load_b<R>(b, tile, from + 16 * j, k);
            mma_16816<element>(c[2 * j], a, b);
            mma_16816<element>(c[2 * j + 1], a, b + 2);
        }
    }
}

/// sum [16, D] += x [16, N] times N rows of the tile of R rows from `from` on.
template <int D, int N, int R> DEVICE void warp_accumulate(float (*sum)[4], u32 (*x)[4], u8 *tile, int from) {
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            u32 b[4];
            load_b_transposed<R>(b, tile, from + 16 * k, 16 * j);
            mma_16816<element>(sum[2 * j], x[k], b);
            mma_16816<element>(sum[2 * j + 1], x[k], b + 2);
        }
    }
}

// ---- by a group ----

#ifdef LORIKEET_EMULATED

/// A tile as an operand: where it begins, and whether the products' depth runs down its rows.
struct Operand {
    const u8 *base;
    bool down;
    int halves;  // bytes from one half of wide rows to the next
};
DEVICE Operand operand_across(const u8 *tile) { return {tile, false, 0}; }
DEVICE Operand operand_down(const u8 *tile, int halves) { return {tile, true, halves}; }
DEVICE Operand advanced(Operand o, int bytes) { o.base += bytes; return o; }
DEVICE float operand_at(Operand o, int depth, int other) {
    const u8 *at = o.down ? o.base + other / 64 * o.halves + depth * 128 + other % 64 * 2 : o.base + other * 128 + depth * 2;
    element x;
    memcpy(&x, (const u8 *)((u64)at ^ ((u64)at >> 7 & 7) << 4), 2);
    return to_float(x);
}
template <int N> DEVICE void emulated_products(float (*c)[4], const float *a, Operand b, bool adding) {
    const int lane = threadIdx.x % 32;
    for (int j = 0; j < N / 8; j++)
        for (int e = 0; e < 4; e++) {
            const int column = 8 * j + 2 * (lane % 4) + e % 2;
            float sum = adding ? c[j][e] : 0;
            for (int k = 0; k < 16; k++) sum += a[e / 2 * 16 + k] * operand_at(b, k, column);
            c[j][e] = sum;
        }
}
template <int N> DEVICE void multiply_shared(float (*c)[4], Operand a, Operand b, bool adding) {
    float rows[32];
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 16; k++) rows[16 * h + k] = operand_at(a, k, threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h);
    emulated_products<N>(c, rows, b, adding);
}
template <int N, bool down = true> DEVICE void multiply_registers(float (*c)[4], const u32 *a, Operand b, bool adding) {
    float rows[32];
    emulated_rows<element>(rows, a);
    emulated_products<N>(c, rows, b, adding);
}
DEVICE void products_begin() {}
DEVICE void products_commit() {}
template <int batches, int count> DEVICE void products_wait(float (*)[4]) {}
template <int count> DEVICE void formed(float (*)[4]) {}
DEVICE void formed(float) {}
DEVICE void steps_begin(u64 *) {}
DEVICE void step(u64 *, int) { block_barrier(); }
template <int W> DEVICE void order_begin() {}
template <int W> DEVICE void order_take() {}
template <int W> DEVICE void order_pass() {}
template <int count> DEVICE void products_end(float (*)[4]) {}
DEVICE void tiles_visible() {}

#elif HOPPER

/// A matrix descriptor: address, distances in units of 16 bytes, 128-byte swizzle.
typedef u64 Operand;
DEVICE Operand descriptor(const u8 *tile, int leading) {
    return (u64)((shared_address(tile) & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}
/// A tile whose rows run along the products' depth: A or B of 64 elements of depth; advance 32 bytes a product, 1,024 for eight rows.
DEVICE Operand operand_across(const u8 *tile) { return descriptor(tile, 16); }
/// A tile whose rows are the depth: advance 2,048 bytes a product. `halves`: bytes from one half of wide rows to the next.
DEVICE Operand operand_down(const u8 *tile, int halves) { return descriptor(tile, halves); }
DEVICE Operand advanced(Operand o, int bytes) { return o + (bytes >> 4); }

DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits for all but the last `batches` batches; `count` groups of c's registers may be read from here on.
template <int batches, int count> DEVICE void products_wait(float (*c)[4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(batches) : "memory");
#pragma unroll
    for (int j = 0; j < count; j++) asm volatile("" : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3]) :: "memory");
}
/// `count` groups of x's registers are formed here, not later: the compiler would put a wait that follows before them.
template <int count> DEVICE void formed(float (*x)[4]) {
#pragma unroll
    for (int j = 0; j < count; j++) asm volatile("" : "+f"(x[j][0]), "+f"(x[j][1]), "+f"(x[j][2]), "+f"(x[j][3]) :: "memory");
}
/// x (not negative) and what it needs are formed here: a branch, never taken, for the assembler too puts waits first.
DEVICE void formed(float x) {
    if (x < 0) asm volatile("nanosleep.u32 1;" ::: "memory");
}
/// Waits for all products; `count` groups of c's registers may be read from here on.
template <int count> DEVICE void products_end(float (*c)[4]) {
    products_commit();
    products_wait<0, count>(c);
}
/// What this thread wrote to shared memory can be read by products after the next barrier.
DEVICE void tiles_visible() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Steps of a block whose warps may be one step apart: two mbarriers in shared memory, begun before a block barrier.
DEVICE void steps_begin(u64 *steps) {
    if (threadIdx.x < 2) asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(steps + threadIdx.x)), "r"(blockDim.x / 32) : "memory");
}
/// This warp has come to step i (0, 1, ...); returns when all have come to step i - 1.
DEVICE void step(u64 *steps, int i) {
    warp_barrier();
    if (threadIdx.x % 32 == 0) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(steps + i % 2)) : "memory");
    if (i == 0) return;
    asm volatile("{\n\t.reg .pred p;\nAGAIN%=:\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n\t@!p bra AGAIN%=;\n\t}"
                 ::"r"(shared_address(steps + (i - 1) % 2)), "r"((i - 1) / 2 % 2) : "memory");
}
// Warpgroups that give out products one after the other, so that one's arithmetic meets the other's products (named barriers 1 to W).
template <int W> DEVICE void order_pass() {
    if (W > 1) asm volatile("bar.arrive %0, 256;" ::"r"(1 + (int)(threadIdx.x / 128 + 1) % W) : "memory");
}
template <int W> DEVICE void order_begin() {
    if (W > 1 && threadIdx.x / 128 == W - 1) order_pass<W>();
}
template <int W> DEVICE void order_take() {
    if (W > 1) asm volatile("bar.sync %0, 256;" ::"r"(1 + (int)threadIdx.x / 128) : "memory");
}

#if TYPE == 1
#define WGMMA_TYPES ".f32.f16.f16 "
#else
#define WGMMA_TYPES ".f32.bf16.bf16 "
#endif
#define C1(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define C4(j) C1(j), C1(j + 1), C1(j + 2), C1(j + 3)
#define C32 C4(0), C4(4)
#define C64 C32, C4(8), C4(12)
#define R32 \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
#define R64 \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
#define WGMMA(n, adding, rest) "{\n\t.reg .pred p;\n\tsetp.ne.b32 p, " adding ", 0;\n\twgmma.mma_async.sync.aligned.m64n" n "k16" WGMMA_TYPES rest "}"

/// c [64, N] (+)= A B, 16 deep: A and B tiles whose rows run along the depth.
template <int N> DEVICE void multiply_shared(float (*c)[4], Operand a, Operand b, bool adding) {
    static_assert(N == 64 || N == 128, "columns of a product");
    if constexpr (N == 64) {
        asm volatile(WGMMA("64", "%34", R32 "%32, %33, p, 1, 1, 0, 0;\n\t") : C32 : "l"(a), "l"(b), "r"((int)adding));
    } else {
        asm volatile(WGMMA("128", "%66", R64 "%64, %65, p, 1, 1, 0, 0;\n\t") : C64 : "l"(a), "l"(b), "r"((int)adding));
    }
}
/// c [64, N] (+)= A B, 16 deep: A fragments as mma_16816's, B a tile whose rows are the depth (`down`) or run along it.
template <int N, bool down = true> DEVICE void multiply_registers(float (*c)[4], const u32 *a, Operand b, bool adding) {
    static_assert(N == 64 || N == 128, "columns of a product");
    if constexpr (N == 64) {
        asm volatile(WGMMA("64", "%37", R32 "{%32,%33,%34,%35}, %36, p, 1, 1, %38;\n\t")
                     : C32 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adding), "n"(down ? 1 : 0));
    } else {
        asm volatile(WGMMA("128", "%69", R64 "{%64,%65,%66,%67}, %68, p, 1, 1, %70;\n\t")
                     : C64 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adding), "n"(down ? 1 : 0));
    }
}

#else

// Products one after the other, each done when its call returns.
DEVICE void products_begin() {}
DEVICE void products_commit() {}
template <int batches, int count> DEVICE void products_wait(float (*)[4]) {}
template <int count> DEVICE void formed(float (*)[4]) {}
DEVICE void formed(float) {}
template <int count> DEVICE void products_end(float (*)[4]) {}
DEVICE void tiles_visible() {}

#endif

#if HOPPER || defined(LORIKEET_EMULATED)
/// c [64, N] = the warpgroup's own rows (of O; `row` is one of them) times N rows of a tile of R rows, over D columns. Begun: finished by
/// products_end.
template <int D, int N, int R, int O = 64> DEVICE void group_scores(float (*c)[4], u8 *own, int row, u8 *tile, int from) {
#pragma unroll
    for (int k = 0; k < D; k += 16)
        multiply_shared<N>(
            c, advanced(operand_across(own + (O > 64 ? row / 64 : 0) * (64 * 128)), k / 64 * (O * 128) + k % 64 * 2),
            advanced(operand_across(tile), k / 64 * (R * 128) + from * 128 + k % 64 * 2), k > 0);
}

/// The same with the own rows as fragments of A.
template <int D, int N, int R> DEVICE void group_scores(float (*c)[4], const u32 (*own)[4], u8 *tile, int from) {
#pragma unroll
    for (int k = 0; k < D; k += 16)
        multiply_registers<N, false>(c, own[k / 16], advanced(operand_across(tile), k / 64 * (R * 128) + from * 128 + k % 64 * 2), k > 0);
}

/// sum [64, D] += x [64, N] times N rows of the tile of R rows from `from` on. Begun: finished by products_end.
template <int D, int N, int R> DEVICE void group_accumulate(float (*sum)[4], u32 (*x)[4], u8 *tile, int from) {
    enum { wide = D < 128 ? D : 128 };
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int c = 0; c < D; c += wide)
            multiply_registers<wide>(sum + c / 8, x[k], advanced(operand_down(tile, R * 128), c / 64 * (R * 128) + (from + 16 * k) * 128), true);
}
#endif
#endif
