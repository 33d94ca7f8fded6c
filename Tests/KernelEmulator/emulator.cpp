#include "emulator.h"
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
struct Barrier {
    int size = 0, arrived = 0;
    unsigned generation = 0;
};
struct Fibre {
    emulated_thread where;
    void *stack_pointer = nullptr;
    std::unique_ptr<unsigned char[]> stack;
    bool done = false;
};
const size_t stack_bytes = 64 * 1024;
// As many as the largest block had so far: their stacks are kept from launch to launch. The running block has the first `threads_of_block`.
std::vector<Fibre> fibres;
size_t threads_of_block;
std::vector<Barrier> warps;
Barrier block;
std::vector<unsigned char> slots;
size_t running, alive;
void *scheduler;
void (*the_body)(void *);
void *the_context;

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

void next() {
    const size_t from = running;
    do running = (running + 1) % threads_of_block; while (fibres[running].done && alive);
    emulated_current = &fibres[running].where;
    if (running != from) emulated_switch(&fibres[from].stack_pointer, fibres[running].stack_pointer);
}

void leave(Barrier &barrier) {
    barrier.size--;
    if (barrier.size > 0 && barrier.arrived == barrier.size) { barrier.arrived = 0; barrier.generation++; }
}

void entry() {
    the_body(the_context);
    fibres[running].done = true;
    alive--;
    leave(block);
    leave(warps[running / 32]);
    if (alive == 0) {
        void *unused;
        emulated_switch(&unused, scheduler);
    }
    next();
    abort();
}

void arrive(Barrier &barrier) {
    const unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.size) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    size_t turns = 0;
    while (barrier.generation == generation) {
        next();
        // A barrier that not all threads reach would hang a real card too.
        if (++turns > 100000000) abort();
    }
}

void prepare(Fibre &fibre) {
    // Not filled: only what a thread uses of it gets memory.
    if (!fibre.stack) fibre.stack.reset(new unsigned char[stack_bytes]);
    void **top = (void **)(((uintptr_t)fibre.stack.get() + stack_bytes) & ~(uintptr_t)15);
    *--top = nullptr;
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fibre.stack_pointer = top;
    fibre.done = false;
}
}

void emulated_block_barrier() { arrive(block); }
void emulated_warp_barrier() { arrive(warps[running / 32]); }
unsigned char *emulated_slot(int lane) { return slots.data() + (running / 32 * 32 + lane) * 256; }

void emulated_launch(emulated_dim grid, unsigned threads, void (*body)(void *), void *context) {
    the_body = body;
    the_context = context;
    threads_of_block = threads;
    if (fibres.size() < threads) fibres.resize(threads);
    slots.resize((threads + 31) / 32 * 32 * 256);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                memset(emulated_shared, 0xff, sizeof emulated_shared);
                block = Barrier{(int)threads};
                warps.assign((threads + 31) / 32, Barrier{});
                for (unsigned i = 0; i < threads; i++) {
                    warps[i / 32].size++;
                    fibres[i].where = {{i, 0, 0}, {x, y, z}, {threads, 1, 1}, grid};
                    prepare(fibres[i]);
                }
                running = 0;
                alive = threads;
                emulated_current = &fibres[0].where;
                emulated_switch(&scheduler, fibres[0].stack_pointer);
            }
}

float emulated_half_to_float(uint16_t bits) { return (float)__builtin_bit_cast(_Float16, bits); }
uint16_t emulated_float_to_half(float x) { return __builtin_bit_cast(uint16_t, (_Float16)x); }

namespace {
struct Kernel { size_t argument_bytes; void (*call)(const void *); };
// Made at first use: kernels register while the program starts.
std::map<std::string, Kernel> &kernels() { static std::map<std::string, Kernel> all; return all; }
std::string key(const char *name, int type) { return std::string(name) + "/" + std::to_string(type); }
}

int emulated_register(const char *name, int type, size_t argument_bytes, void (*call)(const void *)) {
    kernels()[key(name, type)] = Kernel{argument_bytes, call};
    return 0;
}

int emulator_run(const char *name, int type, const unsigned grid[3], unsigned threads, const void *arguments, size_t argument_bytes) {
    const auto found = kernels().find(key(name, type));
    if (found == kernels().end()) return 1;
    const Kernel kernel = found->second;
    // One launch at a time: the running block is global, as a kernel's built-in variables are.
    static std::mutex one;
    const std::lock_guard<std::mutex> held(one);
    if ((kernel.argument_bytes + 7) / 8 != (argument_bytes + 7) / 8) return 2;
    emulate({grid[0], grid[1], grid[2]}, threads, [&] { kernel.call(arguments); });
    return 0;
}
