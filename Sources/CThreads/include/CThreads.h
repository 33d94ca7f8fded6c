// A fork-join pool of worker threads, the one place where the project starts threads for arithmetic, and calls of the system that Swift does not import.
#pragma once
#include <stddef.h>

typedef struct lorikeet_pool lorikeet_pool;
typedef void (*lorikeet_task)(void *context, size_t worker);

/// Starts `workers - 1` threads; the caller is worker 0. NULL when threads or memory cannot be had.
lorikeet_pool *lorikeet_pool_create(size_t workers);
/// Runs task(context, w) once for each worker w and returns when all have ended. While the pool is busy (a task calls this, or
/// another thread does) all of them run on the calling thread, one after the other.
void lorikeet_pool_run(lorikeet_pool *pool, lorikeet_task task, void *context);
void lorikeet_pool_destroy(lorikeet_pool *pool);
/// What a thread does between two looks at a counter that another one will soon raise: it pauses the core, and after some looks lets other threads
/// of the machine run. `looks` counts those already taken.
void lorikeet_between_looks(int looks);

/// 1 where the processor and the system support AVX2 and FMA. Itself needs neither.
int lorikeet_cpu_has_avx2(void);
/// The bits of lorikeet_cpu_features.
enum {
    /// AVX2 and FMA.
    LORIKEET_CPU_AVX2 = 1,
    /// AVX-512 F, DQ, CD, BW and VL: what came with Skylake-X.
    LORIKEET_CPU_AVX512 = 2,
    LORIKEET_CPU_AVX512_BF16 = 4,
    /// The maker is AMD.
    LORIKEET_CPU_AMD = 8,
};
/// Instruction sets that the processor and the system support, and the maker.
int lorikeet_cpu_features(void);
/// Processors the calling thread may run on; 0 when the system does not say.
int lorikeet_processor_count(void);

/// Gives the pages of freed memory, which the allocator keeps for later, back to the system.
void lorikeet_return_free_memory(void);

/// Has the system begin to write what was written to a file and is not on the disk yet, without waiting for it.
/// Returns 0, or the error by which bytes were lost: ENOSPC, EDQUOT or EIO.
int lorikeet_begin_writing(int descriptor);

/// From now on SIGINT and SIGTERM only set a mark. Others change nothing for `seconds` after the first; a later one ends the process as usual.
void lorikeet_catch_signals(int seconds);
/// From now on SIGINT and SIGTERM end the process again, and none counts as caught.
void lorikeet_release_signals(void);
/// The number of the signal that was caught, 0 when none was.
int lorikeet_caught_signal(void);

/// Registers a file that is mapped at `start`. Returns a number for `lorikeet_file_unmapped`, -1 where too many are.
int lorikeet_file_mapped(const void *start, size_t count, const char *path);
void lorikeet_file_unmapped(int slot);
/// From now on a page of a mapped file that can no longer be read, because the file was cut short or its disk fails, ends the process with this exit code
/// and a sentence that names the file, and not by SIGBUS.
void lorikeet_end_on_lost_pages(int code);
