// Runs CUDA kernels on the CPU, slowly: every thread of a block is a fibre, blocks run one after the other.
// device.cuh includes this in place of PTX; a barrier or a warp operation switches fibres until all have arrived.
#pragma once
#ifdef __clang__
// Loops are unrolled for the card; a compiler for the CPU may leave them.
#pragma clang diagnostic ignored "-Wpass-failed"
#endif
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define DEVICE static inline
#define SPECIAL inline
#define MEMBER inline
#define SHARED static
#define ALIGN(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(name) u8 *name = (u8 *)emulated_shared
#define __restrict__

struct emulated_dim { unsigned x, y, z; };
struct ALIGN(16) float4 { float x, y, z, w; };
struct ALIGN(8) float2 { float x, y; };
struct ALIGN(16) uint4 { unsigned x, y, z, w; };
struct ALIGN(8) uint2 { unsigned x, y; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

/// What the running fibre is.
struct emulated_thread { emulated_dim thread, block, block_size, grid; };
extern emulated_thread *emulated_current;
#define threadIdx (emulated_current->thread)
#define blockIdx (emulated_current->block)
#define blockDim (emulated_current->block_size)
#define gridDim (emulated_current->grid)
extern ALIGN(1024) unsigned char emulated_shared[256 * 1024];

void emulated_block_barrier();
/// An operation of the whole warp: waits until all its lanes have come; the last one calls `all` once for the warp, with what each lane
/// brought (null for a lane that the block does not have or that has ended), or nothing where `all` is null. Lanes that come with different
/// operations end the program, as do missing lanes where `whole`.
void emulated_warp_operation(void (*all)(void **lanes), void *brought, bool whole);
static inline float emulated_half_to_float(uint16_t bits) { return (float)__builtin_bit_cast(_Float16, bits); }
static inline uint16_t emulated_float_to_half(float x) { return __builtin_bit_cast(uint16_t, (_Float16)x); }

/// Notes a kernel under its name and type (0 float32, 1 float16, 2 bfloat16).
int emulated_register(const char *name, int type, size_t argument_bytes, void (*call)(const void *arguments));

static inline int emulated_lane() { return (int)(emulated_current->thread.x % 32); }
static inline void block_barrier() { emulated_block_barrier(); }
static inline void warp_barrier() { emulated_warp_operation(nullptr, nullptr, false); }
static inline float exp2_fast(float x) { return exp2f(x); }
static inline float reciprocal_fast(float x) { return 1 / x; }

/// The x of lane `from`; rubbish where that lane does not take part.
template <class T> static inline T emulated_exchange(T x, int from) {
    struct Brought { T x, y; int from; } mine = {x, x, from & 31};
    emulated_warp_operation([](void **lanes) {
        for (int lane = 0; lane < 32; lane++) {
            Brought *const to = (Brought *)lanes[lane];
            if (!to) continue;
            if (const Brought *from = (const Brought *)lanes[to->from]) to->y = from->x; else memset(&to->y, 0xff, sizeof(T));
        }
    }, &mine, false);
    return mine.y;
}
static inline int warp_uniform(int x) { return emulated_exchange(x, 0); }
static inline bool warp_all(bool x) {
    for (int mask = 16; mask > 0; mask >>= 1) x = emulated_exchange(x, emulated_lane() ^ mask) && x;
    return x;
}
static inline float shuffle_xor(float x, int mask) { return emulated_exchange(x, emulated_lane() ^ mask); }
static inline unsigned shuffle_xor(unsigned x, int mask) { return emulated_exchange(x, emulated_lane() ^ mask); }
static inline float shuffle(float x, int lane) { return emulated_exchange(x, lane); }

/// The same layouts as in device.cuh, in float32 with the products in order of depth.
template <class T> static inline void mma_16816(float *c, const unsigned *a, const unsigned *b) {
    struct Brought { float *c; const unsigned *a, *b; } mine = {c, a, b};
    emulated_warp_operation([](void **lanes) {
        auto part = [](unsigned word, int half) {
            T x;
            x.bits = (uint16_t)(half ? word >> 16 : word);
            return to_float(x);
        };
        float A[16][16], B[16][8], C[16][8];
        for (int lane = 0; lane < 32; lane++) {
            const Brought &one = *(const Brought *)lanes[lane];
            const int g = lane / 4, t = lane % 4;
            for (int half = 0; half < 2; half++) {
                for (int i = 0; i < 4; i++) A[g + i % 2 * 8][i / 2 * 8 + 2 * t + half] = part(one.a[i], half);
                for (int i = 0; i < 2; i++) B[i * 8 + 2 * t + half][g] = part(one.b[i], half);
            }
            for (int i = 0; i < 4; i++) C[g + i / 2 * 8][2 * t + i % 2] = one.c[i];
        }
        for (int row = 0; row < 16; row++)
            for (int k = 0; k < 16; k++)
                for (int column = 0; column < 8; column++) C[row][column] += A[row][k] * B[k][column];
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++) ((Brought *)lanes[lane])->c[i] = C[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
    }, &mine, true);
}

/// r[i] of lane 4 g + t: columns 2 t and the next of row g of matrix i, whose rows lanes 8 i to 8 i + 7 name; or of its transpose.
template <bool transposed> static inline void emulated_matrices(unsigned *r, const void *row) {
    struct Brought { unsigned *r; const void *row; } mine = {r, row};
    emulated_warp_operation([](void **lanes) {
        uint16_t rows[32][8];
        for (int lane = 0; lane < 32; lane++) memcpy(rows[lane], ((const Brought *)lanes[lane])->row, 16);
        for (int lane = 0; lane < 32; lane++) {
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; i++) {
                const uint16_t low = transposed ? rows[8 * i + 2 * t][g] : rows[8 * i + g][2 * t];
                const uint16_t high = transposed ? rows[8 * i + 2 * t + 1][g] : rows[8 * i + g][2 * t + 1];
                ((Brought *)lanes[lane])->r[i] = (unsigned)low | (unsigned)high << 16;
            }
        }
    }, &mine, true);
}
static inline void load_matrices(unsigned *r, const void *row) { emulated_matrices<false>(r, row); }
static inline void load_matrices_transposed(unsigned *r, const void *row) { emulated_matrices<true>(r, row); }
static inline unsigned transpose_matrix(unsigned x) {
    struct Brought { unsigned x, y; } mine = {x, 0};
    emulated_warp_operation([](void **lanes) {
        // Lane 4 g + t brings columns 2 t and the next of row g.
        auto at = [&](int row, int column) { return (uint16_t)(((const Brought *)lanes[4 * row + column / 2])->x >> column % 2 * 16); };
        for (int lane = 0; lane < 32; lane++) {
            const int g = lane / 4, t = lane % 4;
            ((Brought *)lanes[lane])->y = (unsigned)at(2 * t, g) | (unsigned)at(2 * t + 1, g) << 16;
        }
    }, &mine, true);
    return mine.y;
}
/// The two rows of A (g and g + 8, 16 columns each) that a lane's results of mma_16816 are products of, from all lanes' words of A.
template <class T> static inline void emulated_rows(float *rows, const unsigned *a) {
    struct Brought { float *rows; const unsigned *a; } mine = {rows, a};
    emulated_warp_operation([](void **lanes) {
        for (int lane = 0; lane < 32; lane++)
            for (int row = 0; row < 2; row++)
                for (int k = 0; k < 16; k++) {
                    const unsigned word = ((const Brought *)lanes[lane / 4 * 4 + k % 8 / 2])->a[k / 8 * 2 + row];
                    T x;
                    x.bits = (uint16_t)(k % 2 ? word >> 16 : word);
                    ((Brought *)lanes[lane])->rows[16 * row + k] = to_float(x);
                }
    }, &mine, true);
}
static inline void copy_async(void *to, const void *from, bool inside) {
    if (inside) memcpy(to, from, 16); else memset(to, 0, 16);
}
static inline void copy_async_word(void *to, const void *from, bool inside) {
    if (inside) memcpy(to, from, 4); else memset(to, 0, 4);
}
static inline void copies_commit() {}
template <int left> static inline void copies_wait() {}
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
