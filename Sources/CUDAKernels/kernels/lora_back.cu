// The adapters' two products of the backward pass that read dy, in 16 bits, on tensor cores, from one reading of it:
//
//     d_product[t, p rank + k] = scale * sum_n dy[t, first_p + n] b_p[n, k]
//     d_b_p[n, k] += scale * sum_t dy[t, first_p + n] product[t, p rank + k]
//
// dy [rows, ld]; up to four adapters p of one rank (8 or 16), on columns first[p]..<end[p] (multiples of 8). A block takes `share` rows (128 at most) by 256
// columns of one of them, a warp 64 columns, whose sums over rows stay in registers and whose sums over columns meet in shared
// memory; both leave as partial sums, which lora_back_sum adds in order: the same bits every time.
//
// dy comes 16 bytes a thread, rows 2t, 2t+1, 2t+8, 2t+9 and columns 8g..8g+7: pairs of rows are B of the products over rows, and
// transposed across the warp (movmatrix) B of those over columns.
//
// Launch: lora_back: grid (tiles, rows / share rounded up = splits), threads 128; share a multiple of 16; tiles: the sum of (end - first) / 256 rounded up.
//         lora_back_sum: grid.x = (rows * ranks + rank * sum of (end - first)) / threads rounded up, threads 256.
// partial: float32, splits * rank * sum of (end - first) for d_b, then tiles * rows * rank for d_product.
#include "device.cuh"

#if TYPE != 0

struct LoRABack {
    const element *dy;
    const element *product;    // [rows, ranks]
    const element *b[4];       // [end - first, rank]
    float *d_b[4];             // likewise, added to
    element *d_product;        // [rows, ranks]
    float *partial;
    int rows, ld, share, ranks, rank, first[4], end[4];
    float scale;
};

/// Of the parts before `part`: their columns' elements of d_b, and their tiles.
DEVICE int columns_before(const LoRABack &p, int part) {
    int sum = 0;
    for (int i = 0; i < part; i++) sum += p.end[i] - p.first[i];
    return sum;
}
DEVICE int tiles_of(const LoRABack &p, int part) { return (p.end[part] - p.first[part] + 255) / 256; }
DEVICE int tiles_before(const LoRABack &p, int part) {
    int sum = 0;
    for (int i = 0; i < part; i++) sum += tiles_of(p, i);
    return sum;
}

KERNEL(128, lora_back, LoRABack) {
    SHARED float across[4][128][17];
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, parts = p.ranks / p.rank;
    int part = 0;
    while (part + 1 < parts && (int)blockIdx.x >= tiles_before(p, part + 1)) part++;
    const int tile = blockIdx.x - tiles_before(p, part), width = p.end[part] - p.first[part];
    const int strip = tile * 256 + 64 * warp, column = strip + 8 * g;  // of the part
    const int start = blockIdx.y * p.share, end = start + p.share < p.rows ? start + p.share : p.rows;
    const bool high = p.rank > 8;

    // b transposed, ranks down and columns across: step s holds columns 8 i + 2 s, then 8 i + 2 s + 1.
    u32 b[4][4];
#pragma unroll
    for (int s = 0; s < 4; s++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int rank = g + i % 2 * 8, at = strip + 16 * t + 2 * s + i / 2;
            const element *from = p.b[part] + (i64)at * p.rank + rank;
            const bool there = i % 2 == 0 || high;
            b[s][i] = bits_or_zero(from, there && at < width) | bits_or_zero(from + 8 * p.rank, there && at + 8 < width) << 16;
        }
    // A tile of 16 rows: dy's words, and product transposed, ranks down and rows across.
    struct Tile {
        uint4 x[4];
        u32 a[4];
    };
    auto load = [&](int first) {
        Tile tile;
        int row[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            row[i] = first + 2 * t + i % 2 + i / 2 * 8;
            tile.x[i] = row[i] < end && column < width ? *(const uint4 *)(p.dy + (i64)row[i] * p.ld + p.first[part] + column) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const element *from = p.product + part * p.rank + g + i % 2 * 8;
            const bool there = i % 2 == 0 || high;
            const u32 low = bits_or_zero(from + (i64)row[i / 2 * 2] * p.ranks, there && row[i / 2 * 2] < end);
            tile.a[i] = low | bits_or_zero(from + (i64)row[i / 2 * 2 + 1] * p.ranks, there && row[i / 2 * 2 + 1] < end) << 16;
        }
        return tile;
    };
    float sum[8][4] = {};
    Tile now = load(start);
    for (int first = start; first < end; first += 16) {
        // The next tile is under way while this one is worked on; behind the end it is zeros.
        const Tile next = load(first + 16);
        u32 x[4][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[i][0] = now.x[i].x; x[i][1] = now.x[i].y; x[i][2] = now.x[i].z; x[i][3] = now.x[i].w;
        }
        float out[2][4] = {};
#pragma unroll
        for (int s = 0; s < 4; s++) {
            // Columns 8 i + 2 s (low halves) and 8 i + 2 s + 1 (high halves) of rows 0-7 (pairs 0) and 8-15 (pairs 1).
            u32 pairs[2][2];
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int e = 0; e < 2; e++) pairs[h][e] = beside(x[2 * h][s], x[2 * h + 1][s], e);
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const u32 rows[2] = {pairs[0][e], pairs[1][e]};
                mma_16816<element>(sum[2 * s + e], now.a, rows);
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const u32 columns[2] = {transpose_matrix(pairs[h][0]), transpose_matrix(pairs[h][1])};
                mma_16816<element>(out[h], b[s], columns);
            }
        }
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int e = 0; e < 4; e++) across[warp][first - start + 8 * h + 2 * t + e % 2][g + e / 2 * 8] = out[h][e];
        now = next;
    }
    float *d_b = p.partial + ((i64)blockIdx.y * columns_before(p, parts) + columns_before(p, part)) * p.rank;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int rank = g + e / 2 * 8, at = strip + 8 * (2 * t + e % 2) + j;
            if (rank < p.rank && at < width) d_b[(i64)at * p.rank + rank] = sum[j][e];
        }
    block_barrier();
    const i64 all = (i64)columns_before(p, parts) * p.rank * gridDim.y;
    float *d_product = p.partial + all + ((i64)blockIdx.x * p.rows + start) * p.rank;
    for (int i = threadIdx.x; i < (end - start) * p.rank; i += 128) {
        const int r = i / p.rank, k = i % p.rank;
        d_product[i] = (across[0][r][k] + across[1][r][k]) + (across[2][r][k] + across[3][r][k]);
    }
}

KERNEL(256, lora_back_sum, LoRABack) {
    const int parts = p.ranks / p.rank, splits = (p.rows + p.share - 1) / p.share;
    const i64 wide = (i64)columns_before(p, parts) * p.rank;
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < wide) {
        float total = 0;
#pragma unroll 8
        for (int s = 0; s < splits; s++) total += p.partial[s * wide + i];
        int part = 0;
        while (part + 1 < parts && i >= (i64)columns_before(p, part + 1) * p.rank) part++;
        p.d_b[part][i - (i64)columns_before(p, part) * p.rank] += p.scale * total;
        return;
    }
    i -= wide;
    if (i >= (i64)p.rows * p.ranks) return;
    const int row = (int)(i / p.ranks), part = (int)(i % p.ranks) / p.rank, k = (int)(i % p.ranks) % p.rank;
    const float *from = p.partial + wide * splits + ((i64)tiles_before(p, part) * p.rows + row) * p.rank + k;
    float total = 0;
    const int tiles = tiles_of(p, part);
#pragma unroll 8
    for (int s = 0; s < tiles; s++) total += from[(i64)s * p.rows * p.rank];
    p.d_product[i] = from_float<element>(total * p.scale);
}

#endif
