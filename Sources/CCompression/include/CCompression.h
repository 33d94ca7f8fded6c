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

/// The room that a frame of `count` bytes needs at most.
size_t lorikeet_zstd_room(size_t count);
/// `count` bytes as one Zstandard frame with its size and a check sum, as small as the library makes it. Returns the frame's bytes, 0 where it
/// cannot be made.
size_t lorikeet_zstd_pack(const uint8_t *in, size_t count, uint8_t *out, size_t room);
/// The size that a frame says it has unpacked; 0 where it says none or is no frame.
size_t lorikeet_zstd_size(const uint8_t *in, size_t count);
/// Unpacks one frame. Returns the bytes written, 0 where it is damaged or does not fit `room`.
size_t lorikeet_zstd_unpack(const uint8_t *in, size_t count, uint8_t *out, size_t room);
