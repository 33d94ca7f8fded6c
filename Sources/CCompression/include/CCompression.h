// Streams of gzip (zlib) and Zstandard (libzstd), decompressed piece by piece behind one interface.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum lorikeet_compression { LORIKEET_GZIP = 1, LORIKEET_ZSTD = 2 };

/// What a call ended with.
enum lorikeet_inflate_status {
    /// The input is used up or the output is full; inside a member or frame.
    LORIKEET_INFLATE_MORE,
    /// The same at the end of a member or frame: the stream may end here.
    LORIKEET_INFLATE_BETWEEN,
    /// The input is not what it should be; `lorikeet_inflater_error` says why.
    LORIKEET_INFLATE_BROKEN,
};

typedef struct lorikeet_inflater lorikeet_inflater;

/// NULL without memory.
lorikeet_inflater *lorikeet_inflater_new(enum lorikeet_compression kind);

/// Decompresses from `in` to `out`. Several members or frames behind each other are one stream; zero bytes behind the last gzip member are
/// passed over. Windows of more than 128 MiB are refused.
enum lorikeet_inflate_status lorikeet_inflate(
    lorikeet_inflater *inflater, const uint8_t *in, size_t in_count, size_t *consumed, uint8_t *out, size_t out_count, size_t *produced);

/// What is broken, in the library's words; NULL when nothing is.
const char *lorikeet_inflater_error(const lorikeet_inflater *inflater);
void lorikeet_inflater_free(lorikeet_inflater *inflater);
