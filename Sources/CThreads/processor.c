#define _GNU_SOURCE
#include "CThreads.h"

#include <sched.h>

int lorikeet_cpu_has_avx2(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

int lorikeet_cpu_features(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int features = 0;
    if (lorikeet_cpu_has_avx2()) features |= LORIKEET_CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        features |= LORIKEET_CPU_AVX512;
    if (__builtin_cpu_supports("avx512bf16")) features |= LORIKEET_CPU_AVX512_BF16;
    if (__builtin_cpu_is("amd")) features |= LORIKEET_CPU_AMD;
    return features;
#else
    return 0;
#endif
}

int lorikeet_processor_count(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}
