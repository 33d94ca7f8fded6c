// The adapters' second product where a linear's output is read and written anyway, in 16 bits, on tensor cores; and the rotation of
// q and k (formula in rope.cu) on the same way, in place of a pass of its own.
//
//     y[t, c] += scale * sum_k product[t, k] b_p[c - first_p, k - p rank]     (see device.cuh)
//     then, where cos is given, the first `heads` heads of head_dimension columns are rotated by the row's angles
//
// y [rows, ld]: elements (lora_up) or of the residual stream's type (lora_up_residual, never rotated). first, end and ld are multiples
// of 8, rows of y at multiples of 16 bytes; rotated: head_dimension a multiple of 64, rotated as a whole (cos, sin [rows, head_dimension / 2]),
// and first, end multiples of 64. rank a multiple of 8, ranks 64 at most; ranks 0 only rotates.
//
// A warp takes 64 columns, of a rotated head 32 of either half, and goes down the block's rows; columns that nobody adds to are not touched.
//
// Launch: grid (ld / 256 rounded up, as many as share the rows), threads 128; compiled with -DSTEPS = ranks / 16 rounded up, 1 for none.
#include "device.cuh"

#if TYPE != 0

template <class T> struct LoRAUp {
    T *y;
    const element *product;
    const element *b[4];
    const float *cos;  // null: no rotation
    const float *sin;
    int rows, ld, heads, head_dimension, ranks, rank, first[4], end[4];
    float scale;
};

template <int steps, class T> DEVICE void add_unit(const LoRAUp<T> &p) {
    const int unit = blockIdx.x * 4 + threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    if (64 * unit >= p.ld) return;
    const bool rotated = p.cos && 64 * unit < p.heads * p.head_dimension;
    const int each = rotated ? p.head_dimension / 64 : 1, half = rotated ? p.head_dimension / 2 : 32;
    const int within = unit % each * 32, left = unit / each * (rotated ? p.head_dimension : 64) + within, right = left + half;
    bool adds = false;
    for (int part = 0; part * p.rank < p.ranks; part++) adds = adds || (left < p.end[part] && right + 32 > p.first[part]);
    if (!rotated && !adds) return;
    u32 b[steps][8][2];
    load_update<steps>(p, b, left, right);
    const int share = rows_of_block(p.rows), start = blockIdx.y * share, end = start + share < p.rows ? start + share : p.rows;
    if (start >= end) return;
    // A tail narrower than 64 columns reads its first ones again and writes nothing there.
    const bool has_left = left + 8 * t < p.ld, has_right = right + 8 * t < p.ld;
    const i64 at_left = has_left ? left + 8 * t : left, at_right = has_right ? right + 8 * t : left;
    struct Tile {
        Octet<T> x[2], y[2];
        u32 a[steps][4];
    };
    auto load = [&](int row) {
        Tile tile;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = row + g + 8 * h < end ? row + g + 8 * h : end - 1;
            tile.x[h] = Octet<T>::at(p.y + (i64)r * p.ld + at_left);
            tile.y[h] = Octet<T>::at(p.y + (i64)r * p.ld + at_right);
        }
        load_product<steps>(p, row, end, tile.a);
        return tile;
    };
    Tile now = load(start);
    for (int row = start; row < end; row += 16) {
        // The next tile is under way while this one is worked on. The last one is loaded twice.
        const Tile next = load(row + 16 < end ? row + 16 : row);
        float sum[8][4];
        form_update<steps>(now.a, b, sum);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = row + g + 8 * h, inside = r < end ? r : end - 1;
            float x[8], y[8];
            unpack(now.x[h], x);
            unpack(now.y[h], y);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                x[j] += p.scale * sum[j][2 * h];
                y[j] += p.scale * sum[j][2 * h + 1];
            }
            if (rotated) {
                float c[8], s[8];
                load_some<8>(p.cos + (i64)inside * half + within + 8 * t, c);
                load_some<8>(p.sin + (i64)inside * half + within + 8 * t, s);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    const float a = x[j];
                    x[j] = a * c[j] - y[j] * s[j];
                    y[j] = y[j] * c[j] + a * s[j];
                }
            }
            if (r < end && has_left) store_some<8>(x, p.y + (i64)r * p.ld + at_left);
            if (r < end && has_right) store_some<8>(y, p.y + (i64)r * p.ld + at_right);
        }
        now = next;
    }
}

template <class T> DEVICE void add_any(const LoRAUp<T> &p) {
#ifdef STEPS
    add_unit<STEPS>(p);
#else
    switch ((p.ranks + 15) / 16) {
    case 0:
    case 1: return add_unit<1>(p);
    case 2: return add_unit<2>(p);
    case 3: return add_unit<3>(p);
    default: return add_unit<4>(p);
    }
#endif
}

KERNEL(128, lora_up, LoRAUp<element>) { add_any(p); }
KERNEL(128, lora_up_residual, LoRAUp<residual>) { add_any(p); }

#endif
