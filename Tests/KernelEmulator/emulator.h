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
void emulated_warp_barrier();
/// 256 bytes of each lane of the running warp, for exchanges.
unsigned char *emulated_slot(int lane);
float emulated_half_to_float(uint16_t bits);
uint16_t emulated_float_to_half(float x);

/// Notes a kernel under its name and type (0 float32, 1 float16, 2 bfloat16).
int emulated_register(const char *name, int type, size_t argument_bytes, void (*call)(const void *arguments));

/// Runs body() once for each thread of each block. Shared memory holds rubbish (0xff) at the start of each block.
void emulated_launch(emulated_dim grid, unsigned threads, void (*body)(void *), void *context);
template <class Body> void emulate(emulated_dim grid, unsigned threads, Body body) {
    emulated_launch(grid, threads, [](void *context) { (*(Body *)context)(); }, &body);
}

static inline int emulated_lane() { return (int)(emulated_current->thread.x % 32); }
static inline void block_barrier() { emulated_block_barrier(); }
static inline void warp_barrier() { emulated_warp_barrier(); }
static inline float exp2_fast(float x) { return exp2f(x); }
static inline float reciprocal_fast(float x) { return 1 / x; }

template <class T> static inline T emulated_exchange(T x, int from) {
    memcpy(emulated_slot(emulated_lane()), &x, sizeof x);
    warp_barrier();
    T y;
    memcpy(&y, emulated_slot(from & 31), sizeof y);
    warp_barrier();
    return y;
}
static inline int warp_uniform(int x) { return emulated_exchange(x, 0); }
static inline bool warp_all(bool x) {
    for (int mask = 16; mask > 0; mask >>= 1) x = emulated_exchange(x, emulated_lane() ^ mask) && x;
    return x;
}
static inline float shuffle_xor(float x, int mask) { return emulated_exchange(x, emulated_lane() ^ mask); }
static inline unsigned shuffle_xor(unsigned x, int mask) { return emulated_exchange(x, emulated_lane() ^ mask); }
static inline float shuffle(float x, int lane) { return emulated_exchange(x, lane); }

/// The same layouts as in device.cuh, in float32 with the products in lane order.
template <class T> static inline void mma_16816(float *c, const unsigned *a, const unsigned *b) {
    const int lane = emulated_lane(), g = lane / 4, t = lane % 4;
    memcpy(emulated_slot(lane), a, 16);
    memcpy(emulated_slot(lane) + 16, b, 8);
    warp_barrier();
    auto part = [](unsigned word, int half) {
        T x;
        x.bits = (uint16_t)(half ? word >> 16 : word);
        return to_float(x);
    };
    auto A = [&](int row, int k) {
        unsigned words[4];
        memcpy(words, emulated_slot(row % 8 * 4 + k % 8 / 2), 16);
        return part(words[(k / 8) * 2 + row / 8], k % 2);
    };
    auto B = [&](int k, int column) {
        unsigned words[2];
        memcpy(words, emulated_slot(column * 4 + k % 8 / 2) + 16, 8);
        return part(words[k / 8], k % 2);
    };
    for (int i = 0; i < 4; i++) {
        const int row = g + (i / 2) * 8, column = 2 * t + i % 2;
        for (int k = 0; k < 16; k++) c[i] += A(row, k) * B(k, column);
    }
    warp_barrier();
}

static inline void emulated_matrices(unsigned *r, const void *row, bool transposed) {
    memcpy(emulated_slot(emulated_lane()), row, 16);
    warp_barrier();
    const int lane = emulated_lane();
    for (int i = 0; i < 4; i++) {
        uint16_t low, high;
        if (transposed) {
            memcpy(&low, emulated_slot(8 * i + 2 * (lane % 4)) + 2 * (lane / 4), 2);
            memcpy(&high, emulated_slot(8 * i + 2 * (lane % 4) + 1) + 2 * (lane / 4), 2);
        } else {
            memcpy(&low, emulated_slot(8 * i + lane / 4) + 4 * (lane % 4), 2);
            memcpy(&high, emulated_slot(8 * i + lane / 4) + 4 * (lane % 4) + 2, 2);
        }
        r[i] = (unsigned)low | (unsigned)high << 16;
    }
    warp_barrier();
}
static inline void load_matrices(unsigned *r, const void *row) { emulated_matrices(r, row, false); }
static inline void load_matrices_transposed(unsigned *r, const void *row) { emulated_matrices(r, row, true); }
static inline unsigned transpose_matrix(unsigned x) {
    memcpy(emulated_slot(emulated_lane()), &x, 4);
    warp_barrier();
    const int lane = emulated_lane(), g = lane / 4, t = lane % 4;
    uint16_t low, high;
    memcpy(&low, emulated_slot(8 * t + g / 2) + 2 * (g % 2), 2);
    memcpy(&high, emulated_slot(8 * t + 4 + g / 2) + 2 * (g % 2), 2);
    warp_barrier();
    return (unsigned)low | (unsigned)high << 16;
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
