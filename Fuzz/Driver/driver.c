// What every input is run in, under libFuzzer or, where that is not linked, under the loop of plain.c.
#include "driver.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

// Missing where libFuzzer is not linked.
__attribute__((weak)) int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*target)(const uint8_t *, size_t));
int lorikeet_fuzz_plainly(int count, char **arguments, int (*target)(const uint8_t *bytes, size_t count));

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
