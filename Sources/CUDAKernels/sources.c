#include "CUDAKernels.h"

static const unsigned char device[] = {
#embed "device.cuh"
};

static const struct { const char *name; const unsigned char *text; size_t length; } table[] = {
    {"device.cuh", device, sizeof device},
};

size_t lorikeet_kernel_source_count(void) { return sizeof table / sizeof *table; }
const char *lorikeet_kernel_source_name(size_t index) { return index < lorikeet_kernel_source_count() ? table[index].name : NULL; }
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length) {
    if (index >= lorikeet_kernel_source_count()) return NULL;
    *length = table[index].length;
    return table[index].text;
}
