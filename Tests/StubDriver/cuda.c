// libcuda: one card in host memory. As on a card, copies and fills happen when somebody waits for them, not when they are asked for.
#include "stub.h"
#include <unistd.h>

typedef uint64_t Address;

/// Work of the one queue that all streams share.
struct Work {
    enum { COPY, FILL } kind;
    void *to;
    const void *from;
    size_t bytes;
    unsigned char value;
};
static struct Work *queue;
static size_t queued, done, room;
static int capturing;

static void add(struct Work work) {
    if (capturing) return;
    if (queued == room) {
        room = room ? 2 * room : 64;
        queue = realloc(queue, room * sizeof *queue);
        if (!queue) abort();
    }
    queue[queued++] = work;
}

static void run_until(size_t end) {
    for (; done < end; done++) {
        struct Work w = queue[done];
        if (w.kind == COPY) memmove(w.to, w.from, w.bytes);
        else memset(w.to, w.value, w.bytes);
    }
}

/// What was allocated, so that memory runs out where the configuration says.
static struct {
    void *memory;
    size_t bytes;
} blocks[1024];
static size_t allocated;

static long long card_total(void) { return stub_number("total", 16106127360); }
static long long card_free(void) { return stub_number("free", card_total()) - (long long)allocated; }

ENTRY int cuDriverGetVersion(int *version) {
    CALL("");
    *version = (int)stub_number("driver_version", 12040);
    return 0;
}
ENTRY int cuInit(unsigned flags) {
    CALL("%u", flags);
    return stub_number("devices", 1) > 0 ? 0 : 100;
}
ENTRY int cuDeviceGetCount(int *count) {
    CALL("");
    *count = (int)stub_number("devices", 1);
    return 0;
}
ENTRY int cuDeviceGet(int *device, int ordinal) {
    CALL("%d", ordinal);
    *device = ordinal;
    return ordinal < stub_number("devices", 1) ? 0 : 101;
}
ENTRY int cuDeviceGetName(char *name, int length, int device) {
    CALL("%d", device);
    stub_text("name", "Tesla T4", name, (size_t)length);
    return 0;
}
ENTRY int cuDeviceGetAttribute(int *value, int attribute, int device) {
    CALL("%d %d", attribute, device);
    int capability = (int)stub_number("capability", 75);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? 40 : 1;
    return 0;
}
ENTRY int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    CALL("%d", device);
    *bytes = (size_t)card_total();
    return 0;
}
ENTRY int cuDeviceGetPCIBusId(char *text, int length, int device) {
    CALL("%d", device);
    snprintf(text, (size_t)length, "0000:%02X:00.0", 4 + device);
    return 0;
}
ENTRY int cuDevicePrimaryCtxRetain(void **context, int device) {
    CALL("%d", device);
    static int one;
    *context = &one;
    return 0;
}
ENTRY int cuDevicePrimaryCtxRelease_v2(int device) {
    CALL("%d", device);
    return 0;
}
ENTRY int cuCtxSetCurrent(void *context) {
    CALL("%d", context != NULL);
    return 0;
}
ENTRY int cuCtxSynchronize(void) {
    CALL("");
    run_until(queued);
    return 0;
}
ENTRY int cuMemGetInfo_v2(size_t *free, size_t *total) {
    CALL("");
    *free = card_free() > 0 ? (size_t)card_free() : 0;
    *total = (size_t)card_total();
    return 0;
}
ENTRY int cuMemAlloc_v2(Address *address, size_t bytes) {
    CALL("%zu", bytes);
    if ((long long)bytes > card_free()) return 2;
    for (int i = 0; i < 1024; i++) {
        if (blocks[i].memory) continue;
        blocks[i].memory = calloc(1, bytes);
        if (!blocks[i].memory) return 2;
        blocks[i].bytes = bytes;
        allocated += bytes;
        *address = (Address)(uintptr_t)blocks[i].memory;
        return 0;
    }
    return 2;
}
ENTRY int cuMemFree_v2(Address address) {
    CALL("");
    run_until(queued);
    for (int i = 0; i < 1024; i++) {
        if (!blocks[i].memory || (Address)(uintptr_t)blocks[i].memory != address) continue;
        free(blocks[i].memory);
        allocated -= blocks[i].bytes;
        blocks[i].memory = NULL;
        return 0;
    }
    return 1;
}
ENTRY int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    CALL("%zu %u", bytes, flags);
    *memory = calloc(1, bytes);
    return *memory ? 0 : 2;
}
ENTRY int cuMemFreeHost(void *memory) {
    CALL("");
    run_until(queued);
    free(memory);
    return 0;
}
ENTRY int cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags) {
    CALL("%zu %u", bytes, flags);
    return memory ? 0 : 1;
}
ENTRY int cuMemHostUnregister(void *memory) {
    CALL("");
    return memory ? 0 : 1;
}

static int stream_create(void **stream) {
    static int one;
    *stream = &one;
    return 0;
}
ENTRY int cuStreamCreate(void **stream, unsigned flags) {
    CALL("%u", flags);
    return stream_create(stream);
}
ENTRY int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    CALL("%u %d", flags, priority);
    return stream_create(stream);
}
ENTRY int cuStreamDestroy_v2(void *stream) {
    CALL("%d", stream != NULL);
    return 0;
}
ENTRY int cuStreamSynchronize(void *stream) {
    CALL("%d", stream != NULL);
    if (capturing) return 900;
    run_until(queued);
    return 0;
}
ENTRY int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    add((struct Work){COPY, (void *)(uintptr_t)to, from, bytes, 0});
    return 0;
}
ENTRY int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    add((struct Work){COPY, to, (void *)(uintptr_t)from, bytes, 0});
    return 0;
}
ENTRY int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    add((struct Work){COPY, (void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, 0});
    return 0;
}
ENTRY int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    add((struct Work){FILL, (void *)(uintptr_t)to, NULL, bytes, value});
    return 0;
}

ENTRY int cuModuleLoadData(void **module, const void *image) {
    // What the stub compiler makes begins so.
    int good = image && !strncmp(image, "stub binary", 11);
    CALL("%s", good ? (const char *)image : "not a binary");
    *module = (void *)(uintptr_t)1;
    return good ? 0 : 200;
}
ENTRY int cuModuleUnload(void *module) {
    CALL("");
    return module ? 0 : 1;
}
/// A function's handle is its name.
ENTRY int cuModuleGetFunction(void **function, void *module, const char *name) {
    CALL("%s", name);
    *function = strdup(name);
    return module ? 0 : 1;
}
ENTRY int cuFuncSetAttribute(void *function, int attribute, int value) {
    CALL("%s %d %d", (const char *)function, attribute, value);
    return 0;
}
ENTRY int cuFuncGetAttribute(int *value, int attribute, void *function) {
    CALL("%s %d", (const char *)function, attribute);
    *value = 0;
    return 0;
}
ENTRY int cuLaunchKernel(
    void *function, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c, unsigned shared, void *stream, void **parameters,
    void **extra) {
    CALL("%s %u,%u,%u %u,%u,%u %u %s", (const char *)function, x, y, z, a, b, c, shared, capturing ? "captured" : "run");
    return stream && parameters && !extra ? 0 : 1;
}

/// An event is a place in the queue.
ENTRY int cuEventCreate(void **event, unsigned flags) {
    CALL("%u", flags);
    *event = calloc(1, sizeof(size_t));
    return *event ? 0 : 2;
}
ENTRY int cuEventDestroy_v2(void *event) {
    CALL("");
    free(event);
    return 0;
}
ENTRY int cuEventRecord(void *event, void *stream) {
    CALL("%d", stream != NULL);
    *(size_t *)event = queued;
    return 0;
}
ENTRY int cuEventSynchronize(void *event) {
    CALL("");
    run_until(*(size_t *)event);
    return 0;
}
ENTRY int cuEventQuery(void *event) {
    CALL("");
    return *(size_t *)event <= done ? 0 : 600;
}
ENTRY int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    CALL("");
    // Of every `ways_to_multiply` measurements the one numbered `fast_way` is faster.
    static long long measured;
    long long ways = stub_number("ways_to_multiply", 1), fast = stub_number("fast_way", -1);
    *milliseconds = fast >= 0 && measured++ % ways == fast ? 0.25f : 1;
    return from && to ? 0 : 1;
}

ENTRY int cuStreamBeginCapture_v2(void *stream, int mode) {
    CALL("%d %d", stream != NULL, mode);
    if (capturing) return 901;
    capturing = 1;
    return 0;
}
ENTRY int cuStreamEndCapture(void *stream, void **graph) {
    *graph = NULL;
    int was = capturing;
    capturing = 0;
    CALL("%d", stream != NULL);
    if (!was) return 904;
    *graph = (void *)(uintptr_t)2;
    return 0;
}
ENTRY int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    CALL("%llu", flags);
    *executable = (void *)(uintptr_t)3;
    return graph ? 0 : 1;
}
ENTRY int cuGraphUpload(void *executable, void *stream) {
    CALL("%d", stream != NULL);
    return executable ? 0 : 1;
}
ENTRY int cuGraphLaunch(void *executable, void *stream) {
    CALL("%d", stream != NULL);
    return executable ? 0 : 1;
}
ENTRY int cuGraphDestroy(void *graph) {
    CALL("");
    return graph ? 0 : 1;
}
ENTRY int cuGraphExecDestroy(void *executable) {
    CALL("");
    return executable ? 0 : 1;
}

ENTRY int cuGetErrorName(int status, const char **name) {
    static const struct {
        int status;
        const char *name;
    } names[] = {
        {1, "CUDA_ERROR_INVALID_VALUE"},
        {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {3, "CUDA_ERROR_NOT_INITIALIZED"},
        {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {100, "CUDA_ERROR_NO_DEVICE"},
        {101, "CUDA_ERROR_INVALID_DEVICE"},
        {200, "CUDA_ERROR_INVALID_IMAGE"},
        {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
        {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
        {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };
    *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status) *name = names[i].name;
    return *name ? 0 : 1;
}
