// The inner products of decoding: rows of stored weights times few rows of x.
//
// Every sum is taken in one order, whatever other rows are computed with it: eight lanes along a piece of at most
// LORIKEET_TILE_COLUMNS columns, the lanes in their order, the tail, the pieces in their order. So a row of x has the same bits alone
// and together with others, and from codes as from expanded weights.
#pragma once
#include "blocks.h"

LORIKEET_INLINE lorikeet_float8 lorikeet_load8(const float *p) {
    lorikeet_float8 value;
    __builtin_memcpy(&value, p, 32);
    return value;
}

/// The sum of the lanes of each of eight vectors, lanes in their order: transposed, the eight sums are taken side by side.
LORIKEET_INLINE lorikeet_float8 lorikeet_lane_sums(const lorikeet_float8 v[8]) {
    lorikeet_float8 pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = __builtin_shufflevector(pairs[i], pairs[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        quads[i + 1] = __builtin_shufflevector(pairs[i], pairs[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        quads[i + 2] = __builtin_shufflevector(pairs[i + 1], pairs[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        quads[i + 3] = __builtin_shufflevector(pairs[i + 1], pairs[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    // quads[i] has lane i of v[0...3] and lane i + 4 of the same; quads[i + 4] those of v[4...7].
    lorikeet_float8 sum = __builtin_shufflevector(quads[0], quads[4], 0, 1, 2, 3, 8, 9, 10, 11);
    for (int i = 1; i < 4; i++) sum += __builtin_shufflevector(quads[i], quads[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    for (int i = 0; i < 4; i++) sum += __builtin_shufflevector(quads[i], quads[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    return sum;
}

/// Columns of a piece: a multiple of 256, the longest block of any format. Four expanded rows of it take 16 KB, half of a first-level
/// cache of 32 KB.
enum { LORIKEET_TILE_COLUMNS = 1024 };

typedef lorikeet_weights (*lorikeet_form)(const unsigned char *block);

/// The dot products of eight stored rows, which lie one behind the other, with one x; four rows go through the loop together.
///
/// The processor's own prefetching does not follow four streams of a few hundred bytes each. So while these rows are multiplied, the
/// eight rows after the next eight are prefetched, from their first byte to their last.
///
/// - columns: a multiple of 32.
LORIKEET_INLINE lorikeet_float8 lorikeet_dots_of(
    lorikeet_form form, long block_bytes, const unsigned char *rows, long columns, const float *x) {
    const long row_bytes = columns / 32 * block_bytes;
    unsigned long ahead = (unsigned long)rows + 16 * (unsigned long)row_bytes;
    lorikeet_float8 result = 0;
    for (long first = 0; first < columns; first += LORIKEET_TILE_COLUMNS) {
        const long end = columns - first < LORIKEET_TILE_COLUMNS ? columns : first + LORIKEET_TILE_COLUMNS;
        lorikeet_float8 sums[8];
        for (int half = 0; half < 8; half += 4) {
            const unsigned char *block = rows + half * row_bytes + first / 32 * block_bytes;
            lorikeet_float8 a = 0, b = 0, c = 0, d = 0;
            for (long i = first; i < end; i += 32, block += block_bytes) {
                for (long line = 0; line < 4 * block_bytes; line += 64) __builtin_prefetch((const void *)(ahead + (unsigned long)line));
                ahead += 4 * (unsigned long)block_bytes;
                const lorikeet_float8 x0 = lorikeet_load8(x + i), x1 = lorikeet_load8(x + i + 8);
                const lorikeet_float8 x2 = lorikeet_load8(x + i + 16), x3 = lorikeet_load8(x + i + 24);
#define LORIKEET_ADD(sum, row)                                      \
    {                                                               \
        const lorikeet_weights w = form(block + (row) * row_bytes); \
        sum = __builtin_elementwise_fma(w.part[0], x0, sum);        \
        sum = __builtin_elementwise_fma(w.part[1], x1, sum);        \
        sum = __builtin_elementwise_fma(w.part[2], x2, sum);        \
        sum = __builtin_elementwise_fma(w.part[3], x3, sum);        \
    }
                LORIKEET_ADD(a, 0)
                LORIKEET_ADD(b, 1)
                LORIKEET_ADD(c, 2)
                LORIKEET_ADD(d, 3)
#undef LORIKEET_ADD
            }
            sums[half] = a;
            sums[half + 1] = b;
            sums[half + 2] = c;
            sums[half + 3] = d;
        }
        result += lorikeet_lane_sums(sums);
    }
    return result;
}

// Expansion of `count` blocks, and the products of eight rows, in each form.
#define LORIKEET_FORM(form, block_bytes)                                                                                             \
    static inline void lorikeet_expand_##form(const unsigned char *block, long count, float *out) {                                  \
        for (long i = 0; i < count; i++) lorikeet_store_weights(lorikeet_##form(block + (block_bytes) * i), out + 32 * i);             \
    }                                                                                                                                \
    static inline lorikeet_float8 lorikeet_dots_##form(const unsigned char *rows, long columns, const float *x) {                     \
        return lorikeet_dots_of(lorikeet_##form, block_bytes, rows, columns, x);                                                     \
    }
LORIKEET_FORM(q4_0, 18)
LORIKEET_FORM(q4_1, 20)
LORIKEET_FORM(q5_0, 22)
LORIKEET_FORM(q5_1, 24)
LORIKEET_FORM(q8_0, 34)
LORIKEET_FORM(f16, 64)
LORIKEET_FORM(bf16, 64)
#undef LORIKEET_FORM

/// The sum of the products of columns `from` to `to - 1`, which fill no vector.
LORIKEET_INLINE float lorikeet_tail(const float *w, const float *x, long from, long to) {
    float sum = 0;
    for (long c = from; c < to; c++) sum = __builtin_fmaf(w[c], x[c], sum);
    return sum;
}

/// y[i * ldy + r] += sum over c of w[r, c] * x[i, c], for float32 rows.
///
/// Four rows of weights and two of x share their loads: eight sums of eight lanes keep both of AVX2's multipliers busy. `length` is one
/// piece of a sum.
///
/// - w: [rows, length], `ldw` floats from row to row.
/// - x: [count, length], `ldx` floats from row to row.
static inline void lorikeet_add_dots(
    const float *w, long ldw, long rows, long length, const float *x, long ldx, long count, float *y, long ldy) {
    const long whole = length & ~7L;
    for (long row = 0; row < rows; row += 4) {
        const long together = rows - row < 4 ? rows - row : 4;
        // Missing rows repeat the last one, and so does a missing x; their sums are not stored.
        const float *w0 = w + row * ldw, *w1 = w0 + (together > 1 ? ldw : 0), *w2 = w1 + (together > 2 ? ldw : 0);
        const float *w3 = w2 + (together > 3 ? ldw : 0);
        for (long i = 0; i < count; i += 2) {
            const long pair = count - i < 2 ? 1 : 2;
            const float *x0 = x + i * ldx, *x1 = x0 + (pair > 1 ? ldx : 0);
            lorikeet_float8 s[8] = {0, 0, 0, 0, 0, 0, 0, 0};
            if (pair == 1) {
                for (long c = 0; c < whole; c += 8) {
                    const lorikeet_float8 a = lorikeet_load8(x0 + c);
                    s[0] = __builtin_elementwise_fma(lorikeet_load8(w0 + c), a, s[0]);
                    s[1] = __builtin_elementwise_fma(lorikeet_load8(w1 + c), a, s[1]);
                    s[2] = __builtin_elementwise_fma(lorikeet_load8(w2 + c), a, s[2]);
                    s[3] = __builtin_elementwise_fma(lorikeet_load8(w3 + c), a, s[3]);
                }
            } else {
                for (long c = 0; c < whole; c += 8) {
                    const lorikeet_float8 a = lorikeet_load8(x0 + c), b = lorikeet_load8(x1 + c);
                    lorikeet_float8 v = lorikeet_load8(w0 + c);
                    s[0] = __builtin_elementwise_fma(v, a, s[0]);
                    s[4] = __builtin_elementwise_fma(v, b, s[4]);
                    v = lorikeet_load8(w1 + c);
                    s[1] = __builtin_elementwise_fma(v, a, s[1]);
                    s[5] = __builtin_elementwise_fma(v, b, s[5]);
                    v = lorikeet_load8(w2 + c);
                    s[2] = __builtin_elementwise_fma(v, a, s[2]);
                    s[6] = __builtin_elementwise_fma(v, b, s[6]);
                    v = lorikeet_load8(w3 + c);
                    s[3] = __builtin_elementwise_fma(v, a, s[3]);
                    s[7] = __builtin_elementwise_fma(v, b, s[7]);
                }
            }
            lorikeet_float8 sums = lorikeet_lane_sums(s);
            if (whole < length) {
                const lorikeet_float8 tails = {
                    lorikeet_tail(w0, x0, whole, length), lorikeet_tail(w1, x0, whole, length), lorikeet_tail(w2, x0, whole, length),
                    lorikeet_tail(w3, x0, whole, length), lorikeet_tail(w0, x1, whole, length), lorikeet_tail(w1, x1, whole, length),
                    lorikeet_tail(w2, x1, whole, length), lorikeet_tail(w3, x1, whole, length)};
                sums += tails;
            }
            for (long k = 0; k < pair; k++) {
                for (long r = 0; r < together; r++) y[(i + k) * ldy + row + r] += sums[4 * k + r];
            }
        }
    }
}
