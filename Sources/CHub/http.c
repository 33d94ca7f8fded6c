#include "CHub.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// libcurl's numbers, as its ABI fixes them: 10000 marks options that take a pointer, 20000 those that take a function, 30000 a 64-bit number.
enum {
    OPTION_WRITEDATA = 10001,
    OPTION_URL = 10002,
    OPTION_READDATA = 10009,
    OPTION_READFUNCTION = 20012,
    OPTION_CUSTOMREQUEST = 10036,
    OPTION_UPLOAD = 46,
    OPTION_INFILESIZE_LARGE = 30115,
    OPTION_SEEKFUNCTION = 20167,
    OPTION_SEEKDATA = 10168,
    OPTION_ERRORBUFFER = 10010,
    OPTION_WRITEFUNCTION = 20011,
    OPTION_LOW_SPEED_LIMIT = 19,
    OPTION_LOW_SPEED_TIME = 20,
    OPTION_HTTPHEADER = 10023,
    OPTION_HEADERDATA = 10029,
    OPTION_NOPROGRESS = 43,
    OPTION_NOBODY = 44,
    OPTION_FOLLOWLOCATION = 52,
    OPTION_XFERINFODATA = 10057,
    OPTION_CAINFO = 10065,
    OPTION_CONNECTTIMEOUT = 78,
    OPTION_HEADERFUNCTION = 20079,
    OPTION_HTTPGET = 80,
    OPTION_BUFFERSIZE = 98,
    OPTION_NOSIGNAL = 99,
    OPTION_PROTOCOLS = 181,
    OPTION_XFERINFOFUNCTION = 20219,
    OPTION_HEADEROPT = 229,
    OPTION_SUPPRESS_CONNECT_HEADERS = 265,

    GLOBAL_DEFAULT = 3,
    PROTOCOLS_HTTP_AND_HTTPS = 3,
    HEADERS_SEPARATE = 1,
    READ_ABORTS = 0x10000000,
    SEEK_FAILS = 1,

    CODE_OK = 0,
    CODE_PROXY_NOT_FOUND = 5,
    CODE_HOST_NOT_FOUND = 6,
    CODE_NOT_CONNECTED = 7,
    CODE_HTTP2 = 16,
    CODE_PARTIAL_FILE = 18,
    CODE_WRITE_ERROR = 23,
    CODE_TIMED_OUT = 28,
    CODE_SSL_CONNECT = 35,
    CODE_ABORTED = 42,
    CODE_GOT_NOTHING = 52,
    CODE_SEND = 55,
    CODE_RECEIVE = 56,
    CODE_UNTRUSTED = 60,
    CODE_NOT_REWOUND = 65,
    CODE_CERTIFICATES_MISSING = 77,
    CODE_HTTP2_STREAM = 92,
};

typedef int (*set_option)(void *handle, int option, ...);

struct lorikeet_http {
    void *handle;
    set_option set;
    int (*perform)(void *);
    void (*reset)(void *);
    void (*cleanup)(void *);
    void *(*append)(void *, const char *);
    void (*free_list)(void *);
};

// libcurl is prepared once in a process.
static pthread_mutex_t preparing = PTHREAD_MUTEX_INITIALIZER;
static int prepared = 0;

lorikeet_http *lorikeet_http_open(const char *library) {
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!opened) return NULL;
    int (*prepare)(long) = (int (*)(long))dlsym(opened, "curl_global_init");
    void *(*init)(void) = (void *(*)(void))dlsym(opened, "curl_easy_init");
    lorikeet_http *http = calloc(1, sizeof *http);
    if (!http) return NULL;
    http->set = (set_option)dlsym(opened, "curl_easy_setopt");
    http->perform = (int (*)(void *))dlsym(opened, "curl_easy_perform");
    http->reset = (void (*)(void *))dlsym(opened, "curl_easy_reset");
    http->cleanup = (void (*)(void *))dlsym(opened, "curl_easy_cleanup");
    http->append = (void *(*)(void *, const char *))dlsym(opened, "curl_slist_append");
    http->free_list = (void (*)(void *))dlsym(opened, "curl_slist_free_all");
    if (prepare && init && http->set && http->perform && http->reset && http->cleanup && http->append && http->free_list) {
        pthread_mutex_lock(&preparing);
        if (!prepared) prepared = prepare(GLOBAL_DEFAULT) == CODE_OK;
        pthread_mutex_unlock(&preparing);
        http->handle = prepared ? init() : NULL;
    }
    if (!http->handle) {
        free(http);
        return NULL;
    }
    return http;
}

void lorikeet_http_close(lorikeet_http *http) {
    if (!http) return;
    http->cleanup(http->handle);
    free(http);
}

// libcurl takes any number other than the bytes given for a failure.
static size_t header(char *bytes, size_t size, size_t count, void *data) {
    const lorikeet_http_request *request = data;
    return request->on_header(request->context, bytes, size * count) ? size * count : 0;
}

static size_t body(char *bytes, size_t size, size_t count, void *data) {
    const lorikeet_http_request *request = data;
    if (size * count == 0) return 0;
    return request->on_body(request->context, bytes, size * count) ? size * count : 0;
}

static size_t request_body(char *bytes, size_t size, size_t count, void *data) {
    const lorikeet_http_request *request = data;
    int64_t got = request->on_read(request->context, bytes, size * count);
    return got < 0 ? READ_ABORTS : (size_t)got;
}

static int rewind_body(void *data, int64_t offset, int origin) {
    const lorikeet_http_request *request = data;
    return origin == SEEK_SET && request->on_rewind(request->context, offset) ? 0 : SEEK_FAILS;
}

static int progress(void *data, int64_t total, int64_t done, int64_t upload_total, int64_t uploaded) {
    (void)total, (void)done, (void)upload_total, (void)uploaded;
    const lorikeet_http_request *request = data;
    return request->should_stop(request->context);
}

static lorikeet_http_result result(int code) {
    switch (code) {
    case CODE_OK: return LORIKEET_HTTP_DONE;
    case CODE_WRITE_ERROR: return LORIKEET_HTTP_REFUSED;
    case CODE_ABORTED: return LORIKEET_HTTP_STOPPED;
    case CODE_PROXY_NOT_FOUND:
    case CODE_HOST_NOT_FOUND:
    case CODE_NOT_CONNECTED: return LORIKEET_HTTP_UNREACHABLE;
    case CODE_UNTRUSTED:
    case CODE_CERTIFICATES_MISSING: return LORIKEET_HTTP_UNTRUSTED;
    case CODE_HTTP2:
    case CODE_PARTIAL_FILE:
    case CODE_TIMED_OUT:
    case CODE_SSL_CONNECT:
    case CODE_GOT_NOTHING:
    case CODE_SEND:
    case CODE_RECEIVE:
    case CODE_NOT_REWOUND:
    case CODE_HTTP2_STREAM: return LORIKEET_HTTP_BROKEN;
    default: return LORIKEET_HTTP_FAILED;
    }
}

lorikeet_http_result lorikeet_http_perform(lorikeet_http *http, const lorikeet_http_request *request, char *message) {
    void *handle = http->handle;
    void *headers = NULL;
    message[0] = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        void *longer = http->append(headers, request->headers[i]);
        if (!longer) {
            http->free_list(headers);
            return LORIKEET_HTTP_FAILED;
        }
        headers = longer;
    }
    // Clears all options; open connections stay.
    http->reset(handle);
    http->set(handle, OPTION_URL, request->url);
    http->set(handle, OPTION_PROTOCOLS, (long)PROTOCOLS_HTTP_AND_HTTPS);
    http->set(handle, OPTION_FOLLOWLOCATION, 0L);
    if (request->method) {
        http->set(handle, OPTION_UPLOAD, 1L);
        http->set(handle, OPTION_CUSTOMREQUEST, request->method);
        http->set(handle, OPTION_INFILESIZE_LARGE, request->body_bytes);
        http->set(handle, OPTION_READFUNCTION, request_body);
        http->set(handle, OPTION_READDATA, (void *)request);
        http->set(handle, OPTION_SEEKFUNCTION, rewind_body);
        http->set(handle, OPTION_SEEKDATA, (void *)request);
    } else {
        http->set(handle, request->head_only ? OPTION_NOBODY : OPTION_HTTPGET, 1L);
    }
    http->set(handle, OPTION_HTTPHEADER, headers);
    // A proxy gets none of these headers.
    http->set(handle, OPTION_HEADEROPT, (long)HEADERS_SEPARATE);
    http->set(handle, OPTION_SUPPRESS_CONNECT_HEADERS, 1L);
    http->set(handle, OPTION_NOSIGNAL, 1L);
    http->set(handle, OPTION_CONNECTTIMEOUT, request->connect_seconds);
    http->set(handle, OPTION_LOW_SPEED_LIMIT, 1L);
    http->set(handle, OPTION_LOW_SPEED_TIME, request->stalled_seconds);
    http->set(handle, OPTION_BUFFERSIZE, 256L << 10);
    if (request->certificates) http->set(handle, OPTION_CAINFO, request->certificates);
    http->set(handle, OPTION_ERRORBUFFER, message);
    http->set(handle, OPTION_HEADERFUNCTION, header);
    http->set(handle, OPTION_HEADERDATA, (void *)request);
    http->set(handle, OPTION_WRITEFUNCTION, body);
    http->set(handle, OPTION_WRITEDATA, (void *)request);
    http->set(handle, OPTION_XFERINFOFUNCTION, progress);
    http->set(handle, OPTION_XFERINFODATA, (void *)request);
    http->set(handle, OPTION_NOPROGRESS, 0L);
    int code = http->perform(handle);
    // The handle keeps no pointer into this call.
    http->reset(handle);
    http->free_list(headers);
    return result(code);
}
