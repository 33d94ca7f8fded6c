#include "CThreads.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Workers spin for a short while before they sleep: the gaps between ops of a step are shorter than a wake-up. Where that is in vain, as where other
// processes have the cores that would end the wait, the next one spins half as long, and after one that is not, twice as long.
#define MOST_SPINS 20000
#define LEAST_SPINS 256

// Looks at a counter before the core goes to another thread: that which the wait is for may have none.
#define LOOKS 256

// Bytes of two cache lines: some processors fetch lines in pairs.
#define LINE 128

struct lorikeet_pool {
    size_t workers;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    // The caller sleeps on it for the last of the workers, and says so.
    pthread_cond_t done;
    atomic_flag busy;
    // What workers look at while they spin has lines of its own: every worker that ends writes `pending`, which would take that line from those
    // that have ended already.
    alignas(LINE) atomic_ulong generation;
    atomic_int stopping;
    lorikeet_task task;
    void *context;
    // How long the caller, and a worker, may spin now.
    alignas(LINE) atomic_int caller_spins;
    atomic_int worker_spins;
    alignas(LINE) atomic_size_t pending;
    atomic_int waits;
    struct seat { lorikeet_pool *pool; size_t worker; } *seats;
};

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void adapt(atomic_int *spins, int now, bool paid) {
    int next = paid ? 2 * now : now / 2;
    if (next > MOST_SPINS) next = MOST_SPINS;
    if (next < LEAST_SPINS) next = LEAST_SPINS;
    if (next != now) atomic_store_explicit(spins, next, memory_order_relaxed);
}

void lorikeet_between_looks(int looks) {
    if (looks < LOOKS) pause_cpu(); else sched_yield();
}

static void *work(void *argument) {
    struct seat *seat = argument;
    lorikeet_pool *pool = seat->pool;
    unsigned long seen = 0;
    for (;;) {
        unsigned long now = seen;
        const int spins = atomic_load_explicit(&pool->worker_spins, memory_order_relaxed);
        for (int i = 0; i < spins && (now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen; i++) pause_cpu();
        adapt(&pool->worker_spins, spins, now != seen);
        if (now == seen) {
            pthread_mutex_lock(&pool->lock);
            while ((now = atomic_load(&pool->generation)) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = now;
        if (atomic_load(&pool->stopping)) return NULL;
        pool->task(pool->context, seat->worker);
        // Sequentially consistent, as the caller's order of setting `waits` and reading `pending`: one of the two sees the other.
        if (atomic_fetch_sub(&pool->pending, 1) == 1 && atomic_load(&pool->waits)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

lorikeet_pool *lorikeet_pool_create(size_t workers) {
    if (workers < 1) workers = 1;
    lorikeet_pool *pool = aligned_alloc(LINE, sizeof *pool);
    if (!pool) return NULL;
    memset(pool, 0, sizeof *pool);
    pool->threads = calloc(workers, sizeof *pool->threads);
    pool->seats = calloc(workers, sizeof *pool->seats);
    if (!pool->threads || !pool->seats) { free(pool->threads); free(pool->seats); free(pool); return NULL; }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    atomic_flag_clear(&pool->busy);
    atomic_init(&pool->caller_spins, MOST_SPINS);
    atomic_init(&pool->worker_spins, MOST_SPINS);
    pool->workers = 1;
    for (size_t w = 1; w < workers; w++) {
        pool->seats[w] = (struct seat){pool, w};
        if (pthread_create(&pool->threads[w], NULL, work, &pool->seats[w]) != 0) { lorikeet_pool_destroy(pool); return NULL; }
        pool->workers++;
    }
    return pool;
}

static void announce(lorikeet_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void lorikeet_pool_run(lorikeet_pool *pool, lorikeet_task task, void *context) {
    if (pool->workers == 1) { task(context, 0); return; }
    // The threads are taken: by another thread's call, or by the one whose task called this. The caller then does all shares itself.
    if (atomic_flag_test_and_set_explicit(&pool->busy, memory_order_acquire)) {
        for (size_t w = 0; w < pool->workers; w++) task(context, w);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store(&pool->pending, pool->workers - 1);
    announce(pool);
    task(context, 0);
    const int spins = atomic_load_explicit(&pool->caller_spins, memory_order_relaxed);
    for (int i = 0; i < spins && atomic_load_explicit(&pool->pending, memory_order_acquire) != 0; i++) pause_cpu();
    const bool done = atomic_load_explicit(&pool->pending, memory_order_acquire) == 0;
    adapt(&pool->caller_spins, spins, done);
    if (!done) {
        pthread_mutex_lock(&pool->lock);
        atomic_store(&pool->waits, 1);
        while (atomic_load(&pool->pending) != 0) pthread_cond_wait(&pool->done, &pool->lock);
        atomic_store(&pool->waits, 0);
        pthread_mutex_unlock(&pool->lock);
    }
    atomic_flag_clear_explicit(&pool->busy, memory_order_release);
}

void lorikeet_pool_destroy(lorikeet_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->stopping, 1);
    announce(pool);
    for (size_t w = 1; w < pool->workers; w++) pthread_join(pool->threads[w], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool->seats);
    free(pool);
}
