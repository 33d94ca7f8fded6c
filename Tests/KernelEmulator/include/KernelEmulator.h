// Runs a CUDA kernel of Sources/CUDAKernels/kernels on the CPU, slowly, on host memory.
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
/// - type: 0 float32, 1 float16, 2 bfloat16.
/// - shared_bytes: the dynamic shared memory of a block.
/// - Returns 0 when it ran, 1 where there is no such kernel, 2 where the arguments have another size, 3 where it wrote to shared memory
/// and asked for none.
int emulator_run(
    const char *name, int type, const unsigned grid[3], unsigned threads, size_t shared_bytes, const void *arguments, size_t argument_bytes);
#ifdef __cplusplus
}
#endif
