// The one BLAS routine the engine calls. Declared here so that no distribution header's place has to be known.
#pragma once

/// C = alpha * op(A) * op(B) + beta * C, float32. `order` 101 row-major; `transpose` 111 none, 112 transposed.
void cblas_sgemm(
    int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
    const float *b, int ldb, float beta, float *c, int ldc);
/// The name of the processor kernels OpenBLAS picked, e.g. "Haswell" or "SkylakeX".
char *openblas_get_corename(void);
