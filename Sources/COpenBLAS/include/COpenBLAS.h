// The one BLAS routine the engine needs, and the choice of its kernels. Declared here so that no distribution header's place has to be known.
#pragma once

/// C = alpha * op(A) * op(B) + beta * C, float32. `order` 101 row-major; `transpose` 111 none, 112 transposed.
void cblas_sgemm(
    int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
    const float *b, int ldb, float beta, float *c, int ldc);
/// C = alpha * op(A) * op(B) + beta * C, row-major; `transpose` 1 or 0. The bits of cblas_sgemm, but large products pack A and B into a buffer that is the
/// calling thread's until it ends.
void lorikeet_sgemm(
    int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta, float *c,
    int ldc);
/// Whether it does: 0 with a build of OpenBLAS whose inner routines are not known, where every product is cblas_sgemm's.
int lorikeet_sgemm_keeps_buffers(void);
/// The build's description: version, options, kernels.
char *openblas_get_config(void);
/// Whether a build with this description is known.
int lorikeet_openblas_is_known(const char *config);
/// For tests: 0 takes the build for an unknown one from here on.
void lorikeet_sgemm_keep_buffers(int keep);
/// Threads OpenBLAS may start for one call.
void openblas_set_num_threads(int threads);
/// 0 when it was built without threads: then it has no locks either and must not be called from two threads at once.
int openblas_get_parallel(void);
/// The name of the processor kernels OpenBLAS picked, e.g. "Haswell" or "SkylakeX".
char *openblas_get_corename(void);
/// Changes to the kernels of that name. No routine of OpenBLAS may be running or have run before. A library built for one kind of
/// processor alone keeps its kernels, as does one that does not know the name.
void lorikeet_openblas_use(const char *name);
