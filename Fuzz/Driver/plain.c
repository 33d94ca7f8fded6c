#define _GNU_SOURCE
// The loop without libFuzzer: changed copies of the corpus, chosen by a seed, without knowledge of which code an input reaches. It takes libFuzzer's
// options -seed, -runs, -max_total_time, -max_len, -timeout and -artifact_prefix, and a file alone is tried once.
#include "driver.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

size_t LLVMFuzzerCustomMutator(uint8_t *text, size_t count, size_t most, unsigned seed);

typedef struct { uint8_t *bytes; size_t count; } input;
static input *corpus;
static size_t files;
static uint8_t *current;
static size_t current_count;
static char artifact[4096];
static unsigned long done;

static void add(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return;
    fseek(file, 0, SEEK_END);
    long count = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(count > 0 ? (size_t)count : 1);
    if (count >= 0 && fread(bytes, 1, (size_t)count, file) == (size_t)count) {
        corpus = realloc(corpus, (files + 1) * sizeof *corpus);
        corpus[files++] = (input){bytes, (size_t)count};
    }
    fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void add_all(const char *path) {
    struct dirent **names;
    int count = scandir(path, &names, NULL, by_name);
    if (count < 0) { add(path); return; }
    for (int i = 0; i < count; i++) {
        char whole[4096];
        snprintf(whole, sizeof whole, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') add(whole);
    }
}

/// Keeps the input that was being tried, and ends as the signal wanted.
static void keep(int signal_number) {
    FILE *file = fopen(artifact, "wb");
    if (file) {
        fwrite(current, 1, current_count, file);
        fclose(file);
    }
    fprintf(stderr, "ERROR: signal %d%s\nTest unit written to %s\nstat::number_of_executed_units: %lu\n", signal_number,
            signal_number == SIGALRM ? " (timeout)" : "", artifact, done);
    _exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int lorikeet_fuzz_plainly(int count, char **arguments, int (*target)(const uint8_t *bytes, size_t count)) {
    long runs = -1, seconds = 0, seed = 1, most = 32768, timeout = 20;
    const char *prefix = "./";
    for (int i = 1; i < count; i++) {
        const char *value = strchr(arguments[i], '=');
        if (arguments[i][0] != '-') add_all(arguments[i]);
        else if (!value) continue;
        else if (!strncmp(arguments[i], "-runs=", 6)) runs = atol(value + 1);
        else if (!strncmp(arguments[i], "-seed=", 6)) seed = atol(value + 1);
        else if (!strncmp(arguments[i], "-max_total_time=", 16)) seconds = atol(value + 1);
        else if (!strncmp(arguments[i], "-max_len=", 9)) most = atol(value + 1);
        else if (!strncmp(arguments[i], "-timeout=", 9)) timeout = atol(value + 1);
        else if (!strncmp(arguments[i], "-artifact_prefix=", 17)) prefix = value + 1;
    }
    if (files == 0) { fprintf(stderr, "no inputs to begin with\n"); return 2; }
    current = malloc((size_t)most);
    snprintf(artifact, sizeof artifact, "%sfound-%ld", prefix, seed);
    // On a stack of its own: recursion without end leaves none.
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_handler = keep, .sa_flags = SA_ONSTACK | SA_RESETHAND};
        sigaction(signals[i], &action, NULL);
    }
    uint64_t state = (uint64_t)seed * 0x9E3779B97F4A7C15u + 1;
    double start = now();
    for (;; done++) {
        if (runs >= 0 && done >= (unsigned long)runs && done >= files) break;
        if (seconds > 0 && done >= files && done % 16 == 0 && now() - start > (double)seconds) break;
        state ^= state << 13; state ^= state >> 7; state ^= state << 17;
        input from = corpus[done < files ? done : state % files];
        current_count = from.count < (size_t)most ? from.count : (size_t)most;
        memcpy(current, from.bytes, current_count);
        // The corpus itself comes first.
        if (done >= files) current_count = LLVMFuzzerCustomMutator(current, current_count, (size_t)most, (unsigned)(state >> 32));
        struct itimerval limit = {.it_value = {.tv_sec = timeout}}, none = {0};
        setitimer(ITIMER_REAL, &limit, NULL);
        target(current, current_count);
        setitimer(ITIMER_REAL, &none, NULL);
        if (files == 1 && seconds == 0 && runs < 0) { done++; break; }
    }
    double took = now() - start;
    fprintf(stderr, "stat::number_of_executed_units: %lu\nstat::average_exec_per_sec: %.0f\n", done, (double)done / (took > 0.001 ? took : 0.001));
    return 0;
}
