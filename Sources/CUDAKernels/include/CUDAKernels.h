// The files of the folder kernels, embedded (sources.c).
#pragma once
#include <stddef.h>

size_t lorikeet_kernel_source_count(void);
/// File name of source `index`, e.g. "rmsnorm.cu"; NULL past the end.
const char *lorikeet_kernel_source_name(size_t index);
/// Its text, `*length` bytes, without a closing zero; NULL past the end.
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length);
