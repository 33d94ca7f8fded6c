#define _DEFAULT_SOURCE
#include <sys/mman.h>

#include "CText.h"

void lorikeet_advise_large_pages(void *start, size_t length) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 2u << 20;
    const uintptr_t first = ((uintptr_t)start + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)start + length) / page * page;
    if (first < end) madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)start, (void)length;
#endif
}
