#define _GNU_SOURCE
#include "COpenBLAS.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Of builds that hold kernels for several kinds of processors (DYNAMIC_ARCH). The library calls the first one as it is loaded.
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

void lorikeet_openblas_use(const char *name) {
    if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit) return;
    // The one way to name kernels that OpenBLAS has: this variable, when it chooses.
    if (setenv("OPENBLAS_CORETYPE", name, 1) != 0) return;
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
}

// Where the packed blocks of a product lie. cblas_sgemm takes a buffer from a pool of the library's and gives it back after the product: three times a
// lock that all threads share, and a buffer that another core wrote last. docs/experiments.md has what that costs.
// The library's routines below cblas_sgemm take their buffers from the caller. They are no part of its interface, so they are only called in
// the version and build they were read in; in any other cblas_sgemm is.

#define KNOWN_BUILD "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH "

// blas_arg_t of common.h, with room behind it.
struct arguments {
    const void *a, *b;
    void *c, *d;
    const void *alpha, *beta;
    long m, n, k, lda, ldb, ldc, ldd;
    void *common;
    long threads, unused[8];
};
typedef int driver(struct arguments *, long *, long *, float *, float *, long);
// Column-major products C = op(A) op(B); the letters say which of the two is transposed.
driver sgemm_nn __attribute__((weak)), sgemm_nt __attribute__((weak)), sgemm_tn __attribute__((weak)), sgemm_tt __attribute__((weak));
// The kernels in use: a structure that begins with sizes in int.
extern const int *gotoblas __attribute__((weak));
enum { OFFSET_A = 1, OFFSET_B = 2, ALIGNMENT = 3, P = 4, Q = 5, R = 6 };
// Only builds with products of bfloat16 have it: there the structure has other fields at these indices.
void sbgemm_beta_PRESCOTT(void) __attribute__((weak));

static bool known, off;
static pthread_key_t leaving;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct buffer { char *base; size_t size; };
static _Thread_local struct buffer own;

static void give_back(void *buffer) {
    struct buffer *of = buffer;
    munmap(of->base, of->size);
    *of = (struct buffer){0};
}

int lorikeet_openblas_is_known(const char *config) { return config && strncmp(config, KNOWN_BUILD, strlen(KNOWN_BUILD)) == 0; }

static void look(void) {
    known = sgemm_nn && sgemm_nt && sgemm_tn && sgemm_tt && &gotoblas && !sbgemm_beta_PRESCOTT &&
        lorikeet_openblas_is_known(openblas_get_config()) && pthread_key_create(&leaving, give_back) == 0;
}

int lorikeet_sgemm_keeps_buffers(void) {
    pthread_once(&once, look);
    return known && !off;
}

void lorikeet_sgemm_keep_buffers(int keep) { off = !keep; }

// At least so many bytes that are this thread's until it ends.
static char *own_buffer(size_t size) {
    if (own.size >= size) return own.base;
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    // Without it nobody would give the buffer back.
    if (pthread_setspecific(leaving, &own) != 0) { munmap(base, size); return NULL; }
    if (own.base) munmap(own.base, own.size);
    own = (struct buffer){base, size};
    return base;
}

void lorikeet_sgemm(
    int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    // Up to this size cblas_sgemm has kernels for AVX-512 that need no buffers (sgemm_small_matrix_permit).
    if ((double)m * n * k > 1e6 && lorikeet_sgemm_keeps_buffers()) {
        const size_t align = (size_t)gotoblas[ALIGNMENT];
        const size_t first = ((size_t)gotoblas[P] * (size_t)gotoblas[Q] * sizeof(float) + align) & ~align;
        const size_t rows = m < gotoblas[R] ? (size_t)m : (size_t)gotoblas[R];
        const size_t second = ((size_t)gotoblas[Q] + 64) * (rows + 64) * sizeof(float);
        char *buffer = own_buffer((size_t)gotoblas[OFFSET_A] + first + (size_t)gotoblas[OFFSET_B] + second);
        if (buffer) {
            // Row-major C is column-major Cᵀ = op(B)ᵀ op(A)ᵀ.
            struct arguments product = {
                .a = b, .b = a, .c = c, .alpha = &alpha, .beta = &beta, .m = n, .n = m, .k = k, .lda = ldb, .ldb = lda, .ldc = ldc, .threads = 1,
            };
            driver *run = transpose_b ? (transpose_a ? sgemm_tt : sgemm_tn) : (transpose_a ? sgemm_nt : sgemm_nn);
            float *packed = (float *)(buffer + gotoblas[OFFSET_A]);
            run(&product, NULL, NULL, packed, (float *)((char *)packed + first + gotoblas[OFFSET_B]), 0);
            return;
        }
    }
    // 101: row-major; 111: as it stands, 112: transposed.
    cblas_sgemm(101, transpose_a ? 112 : 111, transpose_b ? 112 : 111, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
