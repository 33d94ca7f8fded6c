#include "emulator.h"
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "KernelEmulator.h"

ALIGN(1024) unsigned char emulated_shared[256 * 1024];
emulated_thread *emulated_current;

namespace {
struct Barrier { int size = 0, arrived = 0; };
struct Warp {
    Barrier barrier;
    /// What the lanes that have arrived wait for.
    void (*all)(void **lanes) = nullptr;
    void *brought[32] = {};
    bool whole = false;
};
struct Fibre {
    emulated_thread where;
    void *stack_pointer = nullptr;
    std::unique_ptr<unsigned char[]> stack;
};
enum State : unsigned char { waits, ready, ended };
const size_t stack_bytes = 64 * 1024;
/// The beginning of shared memory: what is looked at for writes of a kernel that has not asked for any.
const size_t guard_bytes = 1024;
// As many as the largest block had so far: their stacks are kept from launch to launch. The running block has the first `threads_of_block`.
std::vector<Fibre> fibres;
std::vector<unsigned char> states;
size_t threads_of_block;
std::vector<Warp> warps;
Barrier block;
size_t running, alive;
void *scheduler;
void (*the_body)(void *);
void *the_context;

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "emulator: %s (thread %zu of block %u, %u, %u)\n", what, running, blockIdx.x, blockIdx.y, blockIdx.z);
    abort();
}

/// Saves the callee-saved registers on the stack, its pointer in *from, and goes on at `to` (System V x86-64).
extern "C" void emulated_switch(void **from, void *to);
asm(R"(
.text
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

/// Goes on with the next thread that does not wait, in the order of their numbers.
void next() {
    const size_t from = running;
    const unsigned char *const all = states.data();
    const void *found = all + from + 1;
    if (from + 1 == threads_of_block || all[from + 1] != ready) {
        found = memchr(all + from + 1, ready, threads_of_block - from - 1);
        if (!found) found = memchr(all, ready, from + 1);
    }
    // A barrier that not all threads reach would hang a real card too.
    if (!found) fail("all threads wait at barriers that not all of them reach");
    running = (size_t)((const unsigned char *)found - all);
    emulated_current = &fibres[running].where;
    if (running != from) emulated_switch(&fibres[from].stack_pointer, fibres[running].stack_pointer);
}

/// Those that wait among `count` threads from `first` on may go on.
void release(Barrier &barrier, size_t first, size_t count) {
    barrier.arrived = 0;
    for (size_t i = first; i < first + count && i < threads_of_block; i++)
        if (states[i] == waits) states[i] = ready;
}

void release(Warp &warp, size_t first) {
    if (warp.all) {
        if (warp.whole)
            for (void *lane : warp.brought) if (!lane) fail("an operation of a whole warp has no whole warp");
        warp.all(warp.brought);
    }
    warp.all = nullptr;
    memset(warp.brought, 0, sizeof warp.brought);
    release(warp.barrier, first, 32);
}

/// Whether all that are left have arrived, now that one ends.
bool leave(Barrier &barrier) { return --barrier.size > 0 && barrier.arrived == barrier.size; }

void entry() {
    the_body(the_context);
    states[running] = ended;
    alive--;
    Warp &warp = warps[running / 32];
    if (leave(warp.barrier)) release(warp, running / 32 * 32);
    if (leave(block)) release(block, 0, threads_of_block);
    if (alive == 0) {
        void *unused;
        emulated_switch(&unused, scheduler);
    }
    next();
    abort();
}

void wait() {
    states[running] = waits;
    next();
}

void prepare(Fibre &fibre) {
    // Not filled: only what a thread uses of it gets memory.
    if (!fibre.stack) fibre.stack.reset(new unsigned char[stack_bytes]);
    void **top = (void **)(((uintptr_t)fibre.stack.get() + stack_bytes) & ~(uintptr_t)15);
    *--top = nullptr;
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fibre.stack_pointer = top;
}
}

void emulated_block_barrier() {
    if (++block.arrived < block.size) return wait();
    release(block, 0, threads_of_block);
}

void emulated_warp_operation(void (*all)(void **lanes), void *brought, bool whole) {
    Warp &warp = warps[running / 32];
    if (warp.barrier.arrived > 0 && warp.all != all) fail("lanes of one warp wait for different operations");
    warp.all = all;
    warp.whole = whole;
    warp.brought[running % 32] = brought;
    if (++warp.barrier.arrived < warp.barrier.size) return wait();
    release(warp, running / 32 * 32);
}

namespace {
/// Runs body() once for each thread of each block. Shared memory holds rubbish (0xff) at the start of each block.
/// - shared: whether the launch asks for shared memory. How much is not looked at: kernels are built with the tiles of one capability, and launches
///   ask for what those of another need.
/// - Returns: whether shared memory was left alone where none was asked for.
bool launch(emulated_dim grid, unsigned threads, bool shared, void (*body)(void *), void *context) {
    the_body = body;
    the_context = context;
    threads_of_block = threads;
    if (fibres.size() < threads) fibres.resize(threads);
    states.assign(threads, ready);
    // What nobody may write to is filled once.
    static bool written = true;
    if (!shared && written) memset(emulated_shared, 0xff, sizeof emulated_shared);
    written = shared;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                if (shared) memset(emulated_shared, 0xff, sizeof emulated_shared);
                block = Barrier{(int)threads};
                warps.assign((threads + 31) / 32, Warp{});
                for (unsigned i = 0; i < threads; i++) {
                    warps[i / 32].barrier.size++;
                    states[i] = ready;
                    fibres[i].where = {{i, 0, 0}, {x, y, z}, {threads, 1, 1}, grid};
                    prepare(fibres[i]);
                }
                running = 0;
                alive = threads;
                emulated_current = &fibres[0].where;
                emulated_switch(&scheduler, fibres[0].stack_pointer);
                for (size_t i = 0; !shared && i < guard_bytes; i++)
                    if (emulated_shared[i] != 0xff) {
                        written = true;
                        return false;
                    }
            }
    return true;
}

struct Kernel { size_t argument_bytes; void (*call)(const void *); };
// Made at first use: kernels register while the program starts.
std::map<std::string, Kernel> &kernels() { static std::map<std::string, Kernel> all; return all; }
std::string key(const char *name, int type) { return std::string(name) + "/" + std::to_string(type); }
}

int emulated_register(const char *name, int type, size_t argument_bytes, void (*call)(const void *)) {
    kernels()[key(name, type)] = Kernel{argument_bytes, call};
    return 0;
}

int emulator_run(
    const char *name, int type, const unsigned grid[3], unsigned threads, size_t shared_bytes, const void *arguments, size_t argument_bytes) {
    const auto found = kernels().find(key(name, type));
    if (found == kernels().end()) return 1;
    const Kernel kernel = found->second;
    // One launch at a time: the running block is global, as a kernel's built-in variables are.
    static std::mutex one;
    const std::lock_guard<std::mutex> held(one);
    if ((kernel.argument_bytes + 7) / 8 != (argument_bytes + 7) / 8) return 2;
    struct Call { const Kernel &kernel; const void *arguments; } call = {kernel, arguments};
    const auto body = [](void *context) { ((Call *)context)->kernel.call(((Call *)context)->arguments); };
    return launch({grid[0], grid[1], grid[2]}, threads, shared_bytes > 0, body, &call) ? 0 : 3;
}
