// HTTP through libcurl, opened at run time, and the two hashes that name a hub's files.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// One connection's state: libcurl and an easy handle, whose connections stay open from request to request. Used by one thread at a time.
typedef struct lorikeet_http lorikeet_http;

/// A request as libcurl gets it. Texts end with a zero byte and live until `lorikeet_http_perform` returns.
typedef struct {
    const char *url;
    /// `Name: value` lines.
    const char *const *headers;
    size_t header_count;
    /// 1 asks for the head alone (HEAD), 0 for the body too (GET). Redirects are never followed.
    int head_only;
    /// PUT or POST with a body of `body_bytes` bytes that `on_read` gives; NULL for GET and HEAD.
    const char *method;
    int64_t body_bytes;
    /// Seconds until a connection has to stand, and seconds without a byte after which a transfer counts as broken.
    long connect_seconds;
    long stalled_seconds;
    /// A file of certificate authorities; NULL for libcurl's own.
    const char *certificates;
    /// Given to the three functions below.
    void *context;
    /// One line of the head, or a piece of the body; returns 0 to end the transfer.
    int (*on_header)(void *context, const char *bytes, size_t count);
    int (*on_body)(void *context, const char *bytes, size_t count);
    /// Fills `bytes` with up to `count` bytes of the request's body; returns how many, 0 at its end, -1 to end the transfer.
    int64_t (*on_read)(void *context, char *bytes, size_t count);
    /// Goes on with the request's body at this byte: libcurl sends it again where a kept connection turns out to be closed. Returns 0 where it cannot.
    int (*on_rewind)(void *context, int64_t offset);
    /// Asked at least once a second; other than 0 ends the transfer.
    int (*should_stop)(void *context);
} lorikeet_http_request;

/// What became of a request.
typedef enum {
    LORIKEET_HTTP_DONE = 0,
    /// `on_header`, `on_body` or `on_read` ended it.
    LORIKEET_HTTP_REFUSED,
    /// `should_stop` ended it.
    LORIKEET_HTTP_STOPPED,
    /// No connection: the name is not found, nothing answers.
    LORIKEET_HTTP_UNREACHABLE,
    /// The server's certificate is not trusted.
    LORIKEET_HTTP_UNTRUSTED,
    /// The connection broke or fell silent.
    LORIKEET_HTTP_BROKEN,
    /// Anything else that libcurl says.
    LORIKEET_HTTP_FAILED,
} lorikeet_http_result;

/// Opens the library of this file name or path. NULL when it is not there or lacks a function.
lorikeet_http *lorikeet_http_open(const char *library);
void lorikeet_http_close(lorikeet_http *http);
/// Performs a request. `message` gets libcurl's words (at least 256 bytes).
lorikeet_http_result lorikeet_http_perform(lorikeet_http *http, const lorikeet_http_request *request, char *message);

/// SHA-256 (FIPS 180-4) and SHA-1 of bytes that come in pieces.
typedef struct {
    uint32_t state[8];
    uint64_t byte_count;
    uint8_t block[64];
    /// 256 or 1.
    int kind;
} lorikeet_sha;

void lorikeet_sha_begin(lorikeet_sha *sha, int kind);
void lorikeet_sha_add(lorikeet_sha *sha, const void *bytes, size_t count);
/// Writes 32 or 20 bytes.
void lorikeet_sha_end(lorikeet_sha *sha, uint8_t *digest);
