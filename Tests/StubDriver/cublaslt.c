// libcublasLt: records products, multiplies nothing.
#include "stub.h"

#define MAKE(made, kind) return *(made) = stub_make(__func__, kind, sizeof(struct Object)), 0
ENTRY int cublasLtCreate(void **handle) {
    CALL("");
    MAKE(handle, "cublasLt handle");
}
ENTRY int cublasLtDestroy(void *handle) {
    CALL("%d", handle != NULL);
    return stub_end(__func__, handle, "cublasLt handle");
}
ENTRY size_t cublasLtGetVersion(void) {
    int guard __attribute__((cleanup(stub_unlock), unused)) = stub_lock();
    stub_enter("cublasLtGetVersion", " ");
    return 120605;
}
ENTRY int cublasLtMatmulDescCreate(void **description, int compute, int scale) {
    CALL("%d %d", compute, scale);
    MAKE(description, "product description");
}
ENTRY int cublasLtMatmulDescDestroy(void *description) {
    CALL("%d", description != NULL);
    return stub_end(__func__, description, "product description");
}
ENTRY int cublasLtMatmulDescSetAttribute(void *description, int attribute, const void *value, size_t bytes) {
    CALL("%d %zu", attribute, bytes);
    USE(description, "product description");
    return value ? 0 : 7;
}
ENTRY int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    CALL("%d %llu %llu %lld", type, (unsigned long long)rows, (unsigned long long)columns, (long long)leading);
    MAKE(layout, "matrix layout");
}
ENTRY int cublasLtMatrixLayoutDestroy(void *layout) {
    CALL("%d", layout != NULL);
    return stub_end(__func__, layout, "matrix layout");
}
ENTRY int cublasLtMatrixLayoutSetAttribute(void *layout, int attribute, const void *value, size_t bytes) {
    CALL("%d %zu", attribute, bytes);
    USE(layout, "matrix layout");
    return value ? 0 : 7;
}
ENTRY int cublasLtMatmulPreferenceCreate(void **preference) {
    CALL("");
    MAKE(preference, "product preference");
}
ENTRY int cublasLtMatmulPreferenceDestroy(void *preference) {
    CALL("%d", preference != NULL);
    return stub_end(__func__, preference, "product preference");
}
ENTRY int cublasLtMatmulPreferenceSetAttribute(void *preference, int attribute, const void *value, size_t bytes) {
    CALL("%d %zu", attribute, bytes);
    USE(preference, "product preference");
    return value ? 0 : 7;
}
/// A result is 96 bytes: the algorithm's 64 (here its number), workspace, status and waves, reserved words.
ENTRY int cublasLtMatmulAlgoGetHeuristic(
    void *handle, void *description, void *a, void *b, void *c, void *d, void *preference, int wanted, void *results, int *found) {
    CALL("%d", wanted);
    memset(results, 0, 96 * (size_t)wanted);
    *found = (int)stub_number("algorithms", 1);
    if (*found > wanted) *found = wanted;
    for (int i = 0; i < *found; i++) ((uint64_t *)results)[12 * i] = (uint64_t)i;
    USE(handle, "cublasLt handle");
    USE(description, "product description");
    for (int i = 0; i < 4; i++) USE(((void *[]){a, b, c, d})[i], "matrix layout");
    USE(preference, "product preference");
    return 0;
}
ENTRY int cublasLtMatmul(
    void *handle, void *description, const void *alpha, uint64_t a, void *a_layout, uint64_t b, void *b_layout, const void *beta, uint64_t c,
    void *c_layout, uint64_t d, void *d_layout, const void *algorithm, uint64_t workspace, size_t workspace_bytes, void *stream) {
    int way = algorithm ? (int)*(const uint64_t *)algorithm : -1;
    CALL("%g %g %zu way %d", (double)*(const float *)alpha, (double)*(const float *)beta, workspace_bytes, way);
    USE(handle, "cublasLt handle");
    USE(description, "product description");
    for (int i = 0; i < 4; i++) USE(((void *[]){a_layout, b_layout, c_layout, d_layout})[i], "matrix layout");
    USE(stream, "stream");
    return a && b && c && d && workspace && algorithm ? 0 : 7;
}
