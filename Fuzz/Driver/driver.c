// libFuzzer on objects of Swift's compiler. Swift marks the edges of the code by `trace-pc-guard`, which this libFuzzer no longer takes: here the marks
// become the counters that it does take. Linked before libFuzzer's own definitions of the two functions (--allow-multiple-definition).
#include "driver.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

// Both are missing where libFuzzer is not linked: then the plain loop runs.
__attribute__((weak)) int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*target)(const uint8_t *, size_t));
__attribute__((weak)) void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *end);
int lorikeet_fuzz_plainly(int count, char **arguments, int (*target)(const uint8_t *bytes, size_t count));

#define EDGES (4 << 20)
static uint8_t counters[EDGES];
static uint32_t edges;

__attribute__((no_sanitize("coverage"))) void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop) {
    if (start == stop || *start != 0 || !__sanitizer_cov_8bit_counters_init) return;
    uint32_t first = edges + 1;
    for (uint32_t *guard = start; guard < stop && edges + 1 < EDGES; guard++) *guard = ++edges;
    __sanitizer_cov_8bit_counters_init(counters + first, counters + edges + 1);
}

__attribute__((no_sanitize("coverage"))) void __sanitizer_cov_trace_pc_guard(uint32_t *guard) { counters[*guard]++; }

static int (*wrapped)(const uint8_t *, size_t);

/// The most memory that this process has had, in KiB.
__attribute__((no_sanitize("coverage"))) static long peak(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/// One input. That its peak of memory is far above all before is a finding: numbers in a file may not decide what is allocated.
__attribute__((no_sanitize("coverage"))) static int one(const uint8_t *bytes, size_t count) {
    static long before;
    if (before == 0) before = peak();
    int result = wrapped(bytes, count);
    long after = peak();
    // The corpus grows too, by little at a time.
    if (after - before > 256 * 1024) {
        fprintf(stderr, "an input of %zu bytes took %ld MiB\n", count, (after - before) / 1024);
        abort();
    }
    before = after;
    return result;
}

int lorikeet_fuzz(int count, char **arguments, int (*target)(const uint8_t *bytes, size_t count)) {
    wrapped = target;
    return LLVMFuzzerRunDriver ? LLVMFuzzerRunDriver(&count, &arguments, one) : lorikeet_fuzz_plainly(count, arguments, one);
}
