// What every kernel uses of the device, with two bodies: inline PTX under NVRTC (no toolkit headers), and plain C++ where the
// kernels are built for the CPU (LORIKEET_EMULATED, see Tests/KernelEmulator/emulator.h) so that they can be tested without a GPU.
//
// Compiled with -DTYPE=0 (float32), 1 (float16) or 2 (bfloat16): `element` is that type. -DARCH=75, 80 or 90.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#if TYPE == 1
#define TYPED(name) JOINED(name, _f16)
#elif TYPE == 2
#define TYPED(name) JOINED(name, _bf16)
#else
#define TYPED(name) JOINED(name, _f32)
#endif

// KERNEL(threads, name, Arguments) { ... } defines the entry point `name_<type>` of one parameter, `const Arguments p`: a struct of
// pointers first, then 64-bit integers, then 32-bit numbers, which the host fills byte by byte. `threads` is the largest block.
#ifdef LORIKEET_EMULATED
#include "emulator.h"
/// Comes before the names of kernels that are built a second time, in another way.
#define EMULATED_PREFIX ""
#define KERNEL(threads, name, Arguments) EMULATED_KERNEL(name, Arguments)
#define EMULATED_KERNEL(name, Arguments)                                                                                      \
    static void TYPED(name)(const Arguments p);                                                                               \
    static const int TYPED(registered_##name) = emulated_register(                                                            \
        EMULATED_PREFIX #name, TYPE, sizeof(Arguments), [](const void *bytes) { TYPED(name)(*(const Arguments *)bytes); });                   \
    static void TYPED(name)(const Arguments p)
#define KERNEL_OF_MANY(threads, blocks, name, Arguments) EMULATED_KERNEL(name, Arguments)
#else
#define KERNEL(threads, name, Arguments) KERNEL_OF_MANY(threads, 1, name, Arguments)
/// The same, of which `blocks` shall fit on a multiprocessor at once.
#define KERNEL_OF_MANY(threads, blocks, name, Arguments) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) TYPED(name)(const __grid_constant__ Arguments p)
#define DEVICE static __device__ __forceinline__
/// Explicit specialisations take no `static`.
#define SPECIAL __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define SHARED __shared__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) u8 name[]
#define ALIGN(n) __align__(n)
#endif

struct f16 { u16 bits; };
struct bf16 { u16 bits; };

#if TYPE == 1
typedef f16 element;
#elif TYPE == 2
typedef bf16 element;
#else
typedef float element;
#endif

/// The residual stream and its gradient: float32 beside float16 (SmolLM2's stream reaches 24,926 of 65,504).
#if TYPE == 2
typedef bf16 residual;
#else
typedef float residual;
#endif

// ---- conversions, rounding to nearest even ----

DEVICE float bits_to_float(u32 bits) {
#ifdef LORIKEET_EMULATED
    return __builtin_bit_cast(float, bits);
#else
    return __uint_as_float(bits);
#endif
}

DEVICE u32 float_to_bits(float x) {
#ifdef LORIKEET_EMULATED
    return __builtin_bit_cast(u32, x);
#else
    return __float_as_uint(x);
#endif
}

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return bits_to_float((u32)x.bits << 16); }
DEVICE float to_float(f16 x) {
#ifdef LORIKEET_EMULATED
    return emulated_half_to_float(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

template <class T> struct Converted;
template <> struct Converted<float> { DEVICE float from(float x) { return x; } };
template <> struct Converted<f16> {
    DEVICE f16 from(float x) {
        f16 y;
#ifdef LORIKEET_EMULATED
        y.bits = emulated_float_to_half(x);
#else
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
        return y;
    }
};
template <> struct Converted<bf16> {
    DEVICE bf16 from(float x) {
        const u32 bits = float_to_bits(x);
        bf16 y;
        // NaN keeps a bit of its mantissa; everything else rounds to nearest even.
        y.bits = (bits & 0x7fffffffu) > 0x7f800000u ? (u16)((bits >> 16) | 64) : (u16)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
        return y;
    }
};
/// x as a T.
template <class T> DEVICE T from_float(float x) { return Converted<T>::from(x); }

/// Two numbers of 16 bits in one register, `low` in the low half.
template <class T> DEVICE u32 pack2(float low, float high);
template <> SPECIAL u32 pack2<f16>(float low, float high) {
#ifdef LORIKEET_EMULATED
    return (u32)emulated_float_to_half(low) | (u32)emulated_float_to_half(high) << 16;
#else
    u32 y;
#if ARCH >= 80
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
#else
    y = (u32)from_float<f16>(low).bits | (u32)from_float<f16>(high).bits << 16;
#endif
    return y;
#endif
}
template <> SPECIAL u32 pack2<bf16>(float low, float high) {
#if !defined(LORIKEET_EMULATED) && ARCH >= 80
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
#else
    return (u32)from_float<bf16>(low).bits | (u32)from_float<bf16>(high).bits << 16;
#endif
}
template <class T> DEVICE float unpack_low(u32 x) { T y; y.bits = (u16)x; return to_float(y); }
template <class T> DEVICE float unpack_high(u32 x) { T y; y.bits = (u16)(x >> 16); return to_float(y); }

// ---- 16 bytes at a time ----

#if TYPE != 0
DEVICE u32 bits_or_zero(const element *from, bool there) { return there ? (u32)from->bits : 0; }
/// Element `half` of two words side by side, the first's in the low half.
DEVICE u32 beside(u32 first, u32 second, int half) { return half ? first >> 16 | (second & 0xffff0000u) : (first & 0xffffu) | second << 16; }
#endif

/// As many elements of T as 16 bytes hold, in registers, as floats.
template <class T> struct Pack { enum { count = 16 / sizeof(T) }; };

/// Loads Pack<T>::count elements from a 16-byte aligned address.
DEVICE void load_pack(const float *from, float *to) {
    const float4 x = *(const float4 *)from;
    to[0] = x.x; to[1] = x.y; to[2] = x.z; to[3] = x.w;
}
template <class T> DEVICE void load_pack(const T *from, float *to) {
    const uint4 x = *(const uint4 *)from;
    const u32 words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) { to[2 * i] = unpack_low<T>(words[i]); to[2 * i + 1] = unpack_high<T>(words[i]); }
}
DEVICE void store_pack(const float *from, float *to) { *(float4 *)to = make_float4(from[0], from[1], from[2], from[3]); }
template <class T> DEVICE void store_pack(const float *from, T *to) {
    *(uint4 *)to = make_uint4(pack2<T>(from[0], from[1]), pack2<T>(from[2], from[3]), pack2<T>(from[4], from[5]), pack2<T>(from[6], from[7]));
}

/// `count` elements (4 or a multiple of 8) in as few accesses as they allow: 8 bytes for four of 16 bits, else 16 each.
/// The address is aligned to the access.
template <int count> DEVICE void load_some(const float *from, float *to) {
#pragma unroll
    for (int i = 0; i < count; i += 4) load_pack(from + i, to + i);
}
template <int count, class T> DEVICE void load_some(const T *from, float *to) {
    if constexpr (count == 4) {
        const uint2 x = *(const uint2 *)from;
        to[0] = unpack_low<T>(x.x); to[1] = unpack_high<T>(x.x); to[2] = unpack_low<T>(x.y); to[3] = unpack_high<T>(x.y);
    } else {
#pragma unroll
        for (int i = 0; i < count; i += 8) load_pack(from + i, to + i);
    }
}
template <int count> DEVICE void store_some(const float *from, float *to) {
#pragma unroll
    for (int i = 0; i < count; i += 4) store_pack(from + i, to + i);
}
template <int count, class T> DEVICE void store_some(const float *from, T *to) {
    if constexpr (count == 4) {
        *(uint2 *)to = make_uint2(pack2<T>(from[0], from[1]), pack2<T>(from[2], from[3]));
    } else {
#pragma unroll
        for (int i = 0; i < count; i += 8) store_pack(from + i, to + i);
    }
}
/// Rows of each block where the blocks of grid.y share them: a multiple of 16.
DEVICE int rows_of_block(int rows) { return ((rows + (int)gridDim.y - 1) / (int)gridDim.y + 15) / 16 * 16; }

/// Whether an address (null counts) bears accesses of 16 bytes.
DEVICE bool aligned(const void *p) { return ((u64)p & 15) == 0; }

// ---- one rounding each: never fused into one multiply-add, for results that must have the CPU's bits ----

#ifdef LORIKEET_EMULATED
DEVICE float mul_rn(float a, float b) { return a * b; }
DEVICE float add_rn(float a, float b) { return a + b; }
DEVICE float div_rn(float a, float b) { return a / b; }
#else
DEVICE float mul_rn(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
DEVICE float div_rn(float a, float b) { return __fdiv_rn(a, b); }
#endif

// ---- warps ----

#ifndef LORIKEET_EMULATED
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE u32 shuffle_xor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
/// Lane 0's, which the compiler then knows to be the warp's.
DEVICE int warp_uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }
DEVICE bool warp_all(bool x) { return __all_sync(0xffffffffu, x); }
DEVICE void warp_barrier() { __syncwarp(); }
DEVICE void block_barrier() { __syncthreads(); }
/// 2^x; exact where the result is.
DEVICE float exp2_fast(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
/// 1 / x to a bit or two.
DEVICE float reciprocal_fast(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
#endif

DEVICE float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}
DEVICE float warp_max(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) { const float y = shuffle_xor(x, mask); x = x > y ? x : y; }
    return x;
}
/// Sum over a block of at most 1,024 threads (a multiple of 32); the same bits in every thread. `scratch` [33] is shared.
DEVICE float block_sum(float x, float *scratch) {
    x = warp_sum(x);
    const int warps = blockDim.x / 32;
    block_barrier();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    block_barrier();
    float sum = 0;
    for (int i = 0; i < warps; i++) sum += scratch[i];
    return sum;
}
DEVICE float block_max(float x, float *scratch) {
    x = warp_max(x);
    const int warps = blockDim.x / 32;
    block_barrier();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    block_barrier();
    float most = scratch[0];
    for (int i = 1; i < warps; i++) most = most > scratch[i] ? most : scratch[i];
    return most;
}

// ---- tensor cores (T: f16 from 7.5 on, bf16 from 8.0 on) ----
// Fragments of m16n8k16, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   a[0] = A[g][2t,2t+1]  a[1] = A[g+8][2t,2t+1]  a[2] = A[g][2t+8,2t+9]  a[3] = A[g+8][2t+8,2t+9]
//   b[0] = B[2t,2t+1][g]  b[1] = B[2t+8,2t+9][g]
//   c[0] = C[g][2t]  c[1] = C[g][2t+1]  c[2] = C[g+8][2t]  c[3] = C[g+8][2t+1]

#ifndef LORIKEET_EMULATED
template <class T> DEVICE void mma_16816(float *c, const u32 *a, const u32 *b);
template <> SPECIAL void mma_16816<f16>(float *c, const u32 *a, const u32 *b) {
#if ARCH >= 80
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    // Turing has half the depth: the two halves one after the other.
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}
#if ARCH >= 80
template <> SPECIAL void mma_16816<bf16>(float *c, const u32 *a, const u32 *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

DEVICE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }
/// Four 8x8 matrices of 16 bits; lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned).
/// r[i] of lane l: matrix i, row l / 4, columns 2 (l % 4) and the next.
DEVICE void load_matrices(u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)));
}
/// The same, each matrix transposed: r[i] of lane l: matrix i, rows 2 (l % 4) and the next, column l / 4.
DEVICE void load_matrices_transposed(u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)));
}
/// An 8x8 matrix of 16 bits across the warp (lane l: row l / 4, columns 2 (l % 4) and the next), transposed.
DEVICE u32 transpose_matrix(u32 x) {
    u32 y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}
/// Copies 16 bytes from global to shared memory, or writes zeros where `inside` is false. Asynchronous from 8.0 on.
DEVICE void copy_async(void *to, const void *from, bool inside) {
#if ARCH >= 80
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
#else
    *(uint4 *)to = inside ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}
/// The same of 4 bytes.
DEVICE void copy_async_word(void *to, const void *from, bool inside) {
#if ARCH >= 80
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(shared_address(to)), "l"(from), "r"(inside ? 4 : 0) : "memory");
#else
    *(u32 *)to = inside ? *(const u32 *)from : 0;
#endif
}
DEVICE void copies_commit() {
#if ARCH >= 80
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/// Waits until at most `left` groups of copies are under way.
template <int left> DEVICE void copies_wait() {
#if ARCH >= 80
    asm volatile("cp.async.wait_group %0;" :: "n"(left) : "memory");
#endif
}
#endif

// ---- a low-rank update on its way into other work: delta[t, c] = scale * sum_k product[t, k] b_p[c - first_p, k - p rank] ----
//
// `product` [rows, ranks] holds the products of up to four adapters of one rank (a multiple of 8) side by side; adapter p's b
// [., rank] adds to columns first[p]..<end[p]. A warp forms it for a unit of 16 rows by 64 columns: 32 from `left` on, 32 from
// `right` on. Thread (g, t) gets, of rows g and g + 8, columns left + 8 t + j (sum[j][0] and [2]) and right + 8 t + j ([1] and [3]),
// j in 0..<8: 16 bytes of either half. `Arguments` has the fields named here. steps = ranks / 16 rounded up.
#if TYPE != 0
template <int steps, class Arguments> DEVICE void load_update(const Arguments &p, u32 (*b)[8][2], int left, int right) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, column = (g % 2 ? right : left) + g / 2 * 8;
#pragma unroll
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int k = 16 * s + 8 * h, part = k / p.rank;
            const bool own = k < p.ranks && column >= p.first[part] && column < p.end[part];
            const element *from = own ? p.b[part] + (i64)(column - p.first[part]) * p.rank + k % p.rank + 2 * t : nullptr;
#pragma unroll
            for (int j = 0; j < 8; j++) b[s][j][h] = own ? *(const u32 *)(from + (i64)j * p.rank) : 0;
        }
}
/// The rows of `product` from `row` on that a unit is formed of; what lies at `end` or behind counts as zero.
template <int steps, class Arguments> DEVICE void load_product(const Arguments &p, int row, int end, u32 (*a)[4]) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int r = row + g + i % 2 * 8, k = 16 * s + i / 2 * 8;
            a[s][i] = r < end && k < p.ranks ? *(const u32 *)(p.product + (i64)r * p.ranks + k + 2 * t) : 0;
        }
}
/// Not scaled.
template <int steps> DEVICE void form_update(const u32 (*a)[4], const u32 (*b)[8][2], float (*sum)[4]) {
#pragma unroll
    for (int j = 0; j < 8; j++) {
        sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
#pragma unroll
        for (int s = 0; s < steps; s++) mma_16816<element>(sum[j], a[s], b[s][j]);
    }
}
#endif

/// Eight elements as they lie in memory: to be loaded long before they are used.
template <class T> struct Octet {
    uint4 words[sizeof(T) / 2];
    DEVICE Octet at(const T *from) {
        Octet x;
#pragma unroll
        for (int i = 0; i < (int)sizeof(T) / 2; i++) x.words[i] = ((const uint4 *)from)[i];
        return x;
    }
};
DEVICE void unpack(const Octet<float> &x, float *to) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        to[4 * i] = bits_to_float(x.words[i].x); to[4 * i + 1] = bits_to_float(x.words[i].y);
        to[4 * i + 2] = bits_to_float(x.words[i].z); to[4 * i + 3] = bits_to_float(x.words[i].w);
    }
}
template <class T> DEVICE void unpack(const Octet<T> &x, float *to) {
    const u32 words[4] = {x.words[0].x, x.words[0].y, x.words[0].z, x.words[0].w};
#pragma unroll
    for (int i = 0; i < 4; i++) { to[2 * i] = unpack_low<T>(words[i]); to[2 * i + 1] = unpack_high<T>(words[i]); }
}
/// The other way: elements of floats.
template <class T> DEVICE Octet<T> packed(const float *from) {
    Octet<T> x;
#pragma unroll
    for (int i = 0; i < (int)sizeof(T) / 2; i++) {
        if constexpr (sizeof(T) == 4) {
            const float *y = from + 4 * i;
            x.words[i] = make_uint4(float_to_bits(y[0]), float_to_bits(y[1]), float_to_bits(y[2]), float_to_bits(y[3]));
        } else {
            x.words[i] = make_uint4(
                pack2<T>(from[0], from[1]), pack2<T>(from[2], from[3]), pack2<T>(from[4], from[5]), pack2<T>(from[6], from[7]));
        }
    }
    return x;
}
