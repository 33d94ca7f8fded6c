// libcuda: cards in host memory. As on a card, copies and fills happen when somebody waits for them, not when they are asked for.
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

struct Stream {
    struct Object object;
    int capturing;
    /// It came into a capture by an event, and has work that the capture's own stream has not waited for.
    int joined, ahead;
};
struct Event {
    struct Object object;
    /// Its place in the queue.
    size_t place;
    /// Where it was recorded; and whether that was in a capture.
    struct Stream *stream;
    int captured;
};
/// The stream that came into the capture under way.
static struct Stream *joined;
struct Function {
    void *module;
    char name[112];
};
/// A card's primary context.
static struct Context {
    int retained;
} contexts[8];
static __thread struct Context *current;

/// For the other libraries of the folder.
ENTRY void *stub_current_context(void) { return current; }

static void add(struct Work work, struct Stream *stream) {
    stream->ahead = stream->joined;
    if (stream->capturing) return;
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
    struct Context *context;
} blocks[1024];
static size_t allocated;

/// A copy or fill of a block is asked for in the block's own context.
static void check_block(const char *function, Address address) {
    for (int i = 0; i < 1024; i++) {
        Address begin = (Address)(uintptr_t)blocks[i].memory;
        if (!begin || address < begin || address >= begin + blocks[i].bytes) continue;
        if (blocks[i].context != current) stub_book("! %s without its context current: memory", function);
        return;
    }
    stub_book("! %s outside all memory", function);
}

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
    if (device < 0 || device >= 8) return 101;
    contexts[device].retained++;
    stub_book("+ context");
    *context = &contexts[device];
    return 0;
}
ENTRY int cuDevicePrimaryCtxRelease_v2(int device) {
    CALL("%d", device);
    if (device < 0 || device >= 8 || contexts[device].retained == 0) {
        stub_book("! %s of a context that is not retained", __func__);
        return 201;
    }
    contexts[device].retained--;
    stub_book("- context");
    return 0;
}
ENTRY int cuCtxSetCurrent(void *context) {
    CALL("%d", context != NULL);
    struct Context *wanted = context;
    if (wanted && wanted->retained == 0) {
        stub_book("! %s of a context that was released", __func__);
        return 201;
    }
    current = wanted;
    return 0;
}
ENTRY int cuCtxSynchronize(void) {
    CALL("");
    NEEDS_CONTEXT();
    run_until(queued);
    return 0;
}
ENTRY int cuMemGetInfo_v2(size_t *free, size_t *total) {
    CALL("");
    NEEDS_CONTEXT();
    *free = card_free() > 0 ? (size_t)card_free() : 0;
    *total = (size_t)card_total();
    return 0;
}
ENTRY int cuMemAlloc_v2(Address *address, size_t bytes) {
    CALL("%zu", bytes);
    NEEDS_CONTEXT();
    if ((long long)bytes > card_free()) return 2;
    for (int i = 0; i < 1024; i++) {
        if (blocks[i].memory) continue;
        blocks[i].memory = calloc(1, bytes);
        if (!blocks[i].memory) return 2;
        blocks[i].bytes = bytes;
        blocks[i].context = current;
        allocated += bytes;
        stub_book("+ memory");
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
        check_block(__func__, address);
        free(blocks[i].memory);
        allocated -= blocks[i].bytes;
        blocks[i].memory = NULL;
        stub_book("- memory");
        return 0;
    }
    stub_book("! %s of what is not allocated", __func__);
    return 1;
}
struct Pinned {
    size_t bytes, unused;
};
ENTRY int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    CALL("%zu %u", bytes, flags);
    NEEDS_CONTEXT();
    struct Pinned *made = calloc(1, sizeof *made + bytes);
    if (!made) return 2;
    made->bytes = bytes;
    *memory = made + 1;
    stub_book("+ pinned memory");
    return 0;
}
ENTRY int cuMemFreeHost(void *memory) {
    CALL("");
    NEEDS_CONTEXT();
    struct Pinned *pinned = (struct Pinned *)memory - 1;
    const char *begin = memory;
    for (size_t i = done; i < queued; i++) {
        const char *from = queue[i].from;
        if (from >= begin && from < begin + pinned->bytes) stub_book("! %s of what is still to be copied", __func__);
    }
    run_until(queued);
    free(pinned);
    stub_book("- pinned memory");
    return 0;
}
ENTRY int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    CALL("%u %d", flags, priority);
    NEEDS_CONTEXT();
    *stream = stub_make(__func__, "stream", sizeof(struct Stream));
    return 0;
}
ENTRY int cuStreamDestroy_v2(void *stream) {
    CALL("%d", stream != NULL);
    return stub_end(__func__, stream, "stream");
}
ENTRY int cuStreamSynchronize(void *stream) {
    int guard __attribute__((cleanup(stub_unlock), unused)) = stub_lock();
    int failed = stub_enter(__func__, "%d", stream != NULL);
    if (failed) {
        // A card that is lost does no more work: what was to be written to may be freed.
        done = queued;
        return failed;
    }
    USE(stream, "stream");
    if (((struct Stream *)stream)->capturing) return 900;
    run_until(queued);
    return 0;
}
ENTRY int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    USE(stream, "stream");
    check_block(__func__, to);
    add((struct Work){COPY, (void *)(uintptr_t)to, from, bytes, 0}, stream);
    return 0;
}
ENTRY int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    USE(stream, "stream");
    check_block(__func__, from);
    add((struct Work){COPY, to, (void *)(uintptr_t)from, bytes, 0}, stream);
    return 0;
}
ENTRY int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    USE(stream, "stream");
    check_block(__func__, to);
    check_block(__func__, from);
    add((struct Work){COPY, (void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, 0}, stream);
    return 0;
}
/// Either address may be pinned memory, which the driver knows too.
ENTRY int cuMemcpyAsync(Address to, Address from, size_t bytes, void *stream) {
    CALL("%zu %s", bytes, stream && ((struct Stream *)stream)->capturing ? "captured" : "run");
    USE(stream, "stream");
    add((struct Work){COPY, (void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, 0}, stream);
    return 0;
}
ENTRY int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) {
    CALL("%zu %d", bytes, stream != NULL);
    USE(stream, "stream");
    check_block(__func__, to);
    add((struct Work){FILL, (void *)(uintptr_t)to, NULL, bytes, value}, stream);
    return 0;
}

ENTRY int cuModuleLoadData(void **module, const void *image) {
    // What the stub compiler makes begins so.
    int good = image && !strncmp(image, "stub binary", 11);
    CALL("%s", good ? (const char *)image : "not a binary");
    if (!good) return 200;
    *module = stub_make(__func__, "module", sizeof(struct Object));
    return 0;
}
ENTRY int cuModuleUnload(void *module) {
    CALL("");
    return stub_end(__func__, module, "module");
}
ENTRY int cuModuleGetFunction(void **function, void *module, const char *name) {
    CALL("%s", name);
    USE(module, "module");
    struct Function *made = calloc(1, sizeof *made);
    if (!made) return 2;
    made->module = module;
    snprintf(made->name, sizeof made->name, "%s", name);
    *function = made;
    return 0;
}
ENTRY int cuFuncSetAttribute(void *function, int attribute, int value) {
    CALL("%s %d %d", ((struct Function *)function)->name, attribute, value);
    USE(((struct Function *)function)->module, "module");
    return 0;
}
ENTRY int cuLaunchKernel(
    void *function, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c, unsigned shared, void *stream, void **parameters,
    void **extra) {
    int capturing = stream && ((struct Stream *)stream)->capturing;
    CALL("%s %u,%u,%u %u,%u,%u %u %s", ((struct Function *)function)->name, x, y, z, a, b, c, shared, capturing ? "captured" : "run");
    USE(stream, "stream");
    USE(((struct Function *)function)->module, "module");
    return parameters && !extra ? 0 : 1;
}

ENTRY int cuEventCreate(void **event, unsigned flags) {
    CALL("%u", flags);
    NEEDS_CONTEXT();
    *event = stub_make(__func__, "event", sizeof(struct Event));
    return 0;
}
ENTRY int cuEventDestroy_v2(void *event) {
    CALL("");
    return stub_end(__func__, event, "event");
}
ENTRY int cuEventRecord(void *event, void *stream) {
    CALL("%d", stream != NULL);
    USE(event, "event");
    USE(stream, "stream");
    ((struct Event *)event)->place = queued;
    ((struct Event *)event)->stream = stream;
    ((struct Event *)event)->captured = ((struct Stream *)stream)->capturing;
    return 0;
}
ENTRY int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    CALL("%u", flags);
    USE(stream, "stream");
    USE(event, "event");
    struct Stream *waiting = stream;
    struct Event *awaited = event;
    if (!awaited->captured) return waiting->capturing ? 905 : 0;
    if (!waiting->capturing) {
        waiting->capturing = waiting->joined = 1;
        joined = waiting;
    } else if (awaited->stream->joined) {
        awaited->stream->ahead = 0;
    }
    return 0;
}
ENTRY int cuEventSynchronize(void *event) {
    CALL("");
    USE(event, "event");
    run_until(((struct Event *)event)->place);
    return 0;
}
ENTRY int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    CALL("");
    // Of every `algorithms` measurements the one numbered `fast_way` is faster.
    static long long measured;
    long long ways = stub_number("algorithms", 1), fast = stub_number("fast_way", -1);
    *milliseconds = fast >= 0 && measured++ % ways == fast ? 0.25f : 1;
    USE(from, "event");
    USE(to, "event");
    return 0;
}

ENTRY int cuStreamBeginCapture_v2(void *stream, int mode) {
    CALL("%d %d", stream != NULL, mode);
    USE(stream, "stream");
    if (((struct Stream *)stream)->capturing) return 901;
    ((struct Stream *)stream)->capturing = 1;
    return 0;
}
ENTRY int cuStreamEndCapture(void *stream, void **graph) {
    *graph = NULL;
    // A call that fails ends it too.
    int was = stream && ((struct Stream *)stream)->capturing;
    if (was) ((struct Stream *)stream)->capturing = 0;
    CALL("%d", stream != NULL);
    USE(stream, "stream");
    int unjoined = joined && joined->ahead;
    if (joined) joined->capturing = joined->joined = joined->ahead = 0;
    joined = NULL;
    if (unjoined) return 904;
    if (!was) return 904;
    *graph = stub_make(__func__, "graph", sizeof(struct Object));
    return 0;
}
ENTRY int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    CALL("%llu", flags);
    USE(graph, "graph");
    *executable = stub_make(__func__, "executable graph", sizeof(struct Object));
    return 0;
}
ENTRY int cuGraphLaunch(void *executable, void *stream) {
    CALL("%d", stream != NULL);
    USE(executable, "executable graph");
    USE(stream, "stream");
    return 0;
}
ENTRY int cuGraphDestroy(void *graph) {
    CALL("");
    return stub_end(__func__, graph, "graph");
}
ENTRY int cuGraphExecDestroy(void *executable) {
    CALL("");
    return stub_end(__func__, executable, "executable graph");
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
        {201, "CUDA_ERROR_INVALID_CONTEXT"},
        {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {400, "CUDA_ERROR_INVALID_HANDLE"},
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
