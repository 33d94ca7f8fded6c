// What the four stub libraries share. Each copy of the library is told apart by the folder it lies in: it reads `stub.conf` there
// and appends a line a call to `calls.txt` there, so tests in one process do not meet.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Only entry points are seen from outside: two copies in one process must not use each other's functions.
#define ENTRY __attribute__((visibility("default")))
#define INSIDE __attribute__((visibility("hidden")))

/// Records the call and returns the status it is told to fail with (`fail NAME STATUS [FIRST [TIMES]]`), else 0.
INSIDE int stub_enter(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// The value of the line `KEY VALUE`, or `otherwise`.
INSIDE long long stub_number(const char *key, long long otherwise);
/// The rest of the line `KEY TEXT`, or `otherwise`.
INSIDE void stub_text(const char *key, const char *otherwise, char *into, size_t room);
/// The rest of the index'th line that begins with KEY; 0 where there is none.
INSIDE int stub_line(const char *key, int index, char *into, size_t room);

#define CALL(...)                                                                                                                     \
    do {                                                                                                                              \
        int status = stub_enter(__func__, __VA_ARGS__);                                                                               \
        if (status) return status;                                                                                                    \
    } while (0)
