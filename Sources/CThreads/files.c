#define _GNU_SOURCE
#include "CThreads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lorikeet_begin_writing(int descriptor) {
    if (sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE) == 0) return 0;
    // What cannot be written early (a pipe, a file system without the call) is written as ever.
    return errno == ENOSPC || errno == EDQUOT || errno == EIO ? errno : 0;
}

// The files that are mapped, for the handler of SIGBUS. A slot is free while `start` is 0; `start` is set last and cleared first.
enum { SLOTS = 4096 };
static struct {
    _Atomic uintptr_t start;
    size_t count;
    char *path;
} mapped[SLOTS];
static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;
static int exit_code;

int lorikeet_file_mapped(const void *start, size_t count, const char *path) {
    int found = -1;
    pthread_mutex_lock(&changes);
    for (int slot = 0; slot < SLOTS && found < 0; slot++) {
        if (atomic_load(&mapped[slot].start) != 0) continue;
        char *copy = strdup(path);
        if (copy == NULL) break;
        mapped[slot].path = copy;
        mapped[slot].count = count;
        atomic_store(&mapped[slot].start, (uintptr_t)start);
        found = slot;
    }
    pthread_mutex_unlock(&changes);
    return found;
}

void lorikeet_file_unmapped(int slot) {
    if (slot < 0 || slot >= SLOTS) return;
    pthread_mutex_lock(&changes);
    atomic_store(&mapped[slot].start, 0);
    free(mapped[slot].path);
    mapped[slot].path = NULL;
    pthread_mutex_unlock(&changes);
}

static void say(const char *text, size_t count) {
    while (count > 0) {
        ssize_t put = write(STDERR_FILENO, text, count);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return;
        text += put;
        count -= (size_t)put;
    }
}

// Only what a handler may call: write and _exit.
static void page_lost(int number, siginfo_t *information, void *context) {
    (void)number, (void)context;
    uintptr_t at = (uintptr_t)information->si_addr;
    for (int slot = 0; slot < SLOTS; slot++) {
        uintptr_t start = atomic_load(&mapped[slot].start);
        if (start == 0 || at < start || at - start >= mapped[slot].count) continue;
        static const char before[] = "\nlorikeet: ";
        static const char after[] =
            ": the file was cut short while it was in use, or its disk failed; what was saved is not lost: bring the file back and run the same command again\n";
        char path[1024];
        size_t length = 0;
        for (const char *c = mapped[slot].path; *c != 0 && length < sizeof path; c++) path[length++] = (unsigned char)*c < 32 || *c == 127 ? '?' : *c;
        // A line of progress may stand there.
        int first = isatty(STDERR_FILENO) ? 0 : 1;
        say(before + first, sizeof before - 1 - (size_t)first);
        say(path, length);
        say(after, sizeof after - 1);
        _exit(exit_code);
    }
    // No file's page: it comes again, and ends the process as ever.
    signal(SIGBUS, SIG_DFL);
}

void lorikeet_end_on_lost_pages(int code) {
    exit_code = code;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = page_lost;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, NULL);
}
