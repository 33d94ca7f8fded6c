// Preloaded into a program (LD_PRELOAD), it counts the calls that change a disk, and at one of them fails or kills the process:
// write, fsync, rename, unlink, rmdir, mkdir, symlink, and open of a file that may be made. Standard streams, pipes and devices do not count.
//
//   CALL_LOG=FILE      appends a line a call: its number, name and path
//   CALL_FAIL=N        the N-th call fails with the error CALL_ERROR (a number); CALL_FAIL_FROM=N: it and all later ones
//   CALL_RUN=N         before the N-th call the shell runs CALL_COMMAND; $PPID is this process in it
//   CALL_KILL=N        the process is killed before the N-th call; with CALL_HALF=1 after half of it, where it is a write
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, #name)

static atomic_long calls;

static long setting(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : -1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/// 1 where the call has to fail, 2 where half of it takes place and the process dies then.
static int counted(const char *name, const char *path) {
    static ssize_t (*put)(int, const void *, size_t);
    static int (*opened)(const char *, int, ...);
    if (!put) put = dlsym(RTLD_NEXT, "write");
    if (!opened) opened = dlsym(RTLD_NEXT, "open");
    long number = atomic_fetch_add(&calls, 1) + 1;
    const char *log = getenv("CALL_LOG");
    if (log) {
        char line[1024];
        int count = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path ? path : "");
        int file = opened(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (file >= 0) {
            put(file, line, (size_t)(count < (int)sizeof line ? count : (int)sizeof line - 1));
            close(file);
        }
    }
    const char *command = getenv("CALL_COMMAND");
    if (command && number == setting("CALL_RUN")) {
        char line[4096];
        snprintf(line, sizeof line, "unset LD_PRELOAD; %s", command);
        if (system(line) != 0) fprintf(stderr, "the command of CALL_COMMAND failed\n");
    }
    if (number == setting("CALL_KILL")) {
        if (setting("CALL_HALF") == 1) return 2;
        die();
    }
    long from = setting("CALL_FAIL_FROM");
    if (number == setting("CALL_FAIL") || (from > 0 && number >= from)) {
        errno = (int)setting("CALL_ERROR");
        return 1;
    }
    return 0;
}

/// Whether a path is that of a device: /dev/shm is a file system as any other.
static int is_device(const char *path) { return !strncmp(path, "/dev/", 5) && strncmp(path, "/dev/shm/", 9); }

/// The path of an open file; empty for what is no file.
static void path_of(int file, char *path, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t count = readlink(name, path, size - 1);
    path[count < 0 ? 0 : count] = 0;
    if (path[0] != '/' || !strncmp(path, "/proc", 5) || is_device(path)) path[0] = 0;
}

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[512] = "";
    if (file > 2) path_of(file, path, sizeof path);
    if (!path[0]) return real(file, bytes, count);
    switch (counted("write", path)) {
    case 1: return -1;
    case 2: real(file, bytes, count / 2), die();
    }
    return real(file, bytes, count);
}

int fsync(int file) {
    REAL(int, fsync, int);
    char path[512];
    path_of(file, path, sizeof path);
    return counted("fsync", path) == 1 ? -1 : real(file);
}

#define NAMED(name) \
    int name(const char *path) { \
        REAL(int, name, const char *); \
        return counted(#name, path) == 1 ? -1 : real(path); \
    }
NAMED(unlink)
NAMED(rmdir)

#define TWO(name) \
    int name(const char *from, const char *to) { \
        REAL(int, name, const char *, const char *); \
        return counted(#name, to) == 1 ? -1 : real(from, to); \
    }
TWO(rename)
TWO(symlink)

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    return counted("mkdir", path) == 1 ? -1 : real(path, mode);
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & O_CREAT) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
            if (!is_device(path) && counted("create", path) == 1) return -1; \
        } \
        return real(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)
