// What the four stub libraries share. Each copy of the library is told apart by the folder it lies in: it reads `stub.conf` there
// and appends a line a call to `calls.txt` there, so tests in one process do not meet. What is made and given back stands in `books.txt`:
// a line `+ KIND` or `- KIND` each, and `! SENTENCE` for what a driver would refuse or must never see: a call without the context of what
// it works on, something used or given back that is not there any more.
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

/// One entry of a library at a time, as the real ones lock inside.
INSIDE int stub_lock(void);
INSIDE void stub_unlock(int *unused);

/// Something that was made: a stream, an event, a handle of cuBLASLt. Entry points hand out its address.
struct Object {
    const char *kind;
    /// The context that was current when it was made.
    void *context;
    int alive;
};
/// - bytes: of the struct that begins with an Object.
INSIDE void *stub_make(const char *function, const char *kind, size_t bytes);
/// Whether `object` is alive, of this kind, and its context is current: 0, else the status to return.
INSIDE int stub_use(const char *function, void *object, const char *kind);
/// The same, and gives it back. (Its memory stays, so that a second time is seen.)
INSIDE int stub_end(const char *function, void *object, const char *kind);
/// The calling thread's current context by this folder's libcuda; NULL for none.
INSIDE void *stub_context(void);
/// A line of the books.
INSIDE void stub_book(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// Return the status where the object cannot be used; where no context is current.
#define USE(object, kind)                                                                                                             \
    do {                                                                                                                              \
        int status = stub_use(__func__, object, kind);                                                                                \
        if (status) return status;                                                                                                    \
    } while (0)
#define NEEDS_CONTEXT()                                                                                                               \
    do {                                                                                                                              \
        if (!stub_context()) {                                                                                                        \
            stub_book("! %s without a current context", __func__);                                                                    \
            return 201;                                                                                                               \
        }                                                                                                                             \
    } while (0)

#define CALL(...)                                                                                                                     \
    int guard __attribute__((cleanup(stub_unlock), unused)) = stub_lock();                                                            \
    do {                                                                                                                              \
        int status = stub_enter(__func__, __VA_ARGS__);                                                                               \
        if (status) return status;                                                                                                    \
    } while (0)
