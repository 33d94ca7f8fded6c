#include "CCompression.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

struct lorikeet_inflater {
    enum lorikeet_compression kind;
    z_stream zlib;
    ZSTD_DStream *zstd;
    /// The last member or frame is complete, and nothing of the next has been read.
    int between;
    /// zlib: a member has ended, so what follows is another one or filling zeros.
    int member_ended;
    const char *error;
};

lorikeet_inflater *lorikeet_inflater_new(enum lorikeet_compression kind) {
    lorikeet_inflater *it = calloc(1, sizeof *it);
    if (!it) return NULL;
    it->kind = kind;
    if (kind == LORIKEET_GZIP) {
        // 16: gzip's header; 15: a window of 32 KiB, the largest there is.
        if (inflateInit2(&it->zlib, 16 + 15) == Z_OK) return it;
    } else {
        it->zstd = ZSTD_createDStream();
        if (it->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(it->zstd, ZSTD_d_windowLogMax, 27))) return it;
    }
    lorikeet_inflater_free(it);
    return NULL;
}

static enum lorikeet_inflate_status gunzip(
    lorikeet_inflater *it, const uint8_t *in, size_t in_count, size_t *consumed, uint8_t *out, size_t out_count, size_t *produced) {
    // Output may wait inside while there is no input left.
    while (*produced < out_count && (*consumed < in_count || !it->member_ended)) {
        if (it->member_ended) {
            while (*consumed < in_count && in[*consumed] == 0) ++*consumed;
            if (*consumed == in_count) break;
            if (inflateReset(&it->zlib) != Z_OK) { it->error = "the stream cannot be read on"; return LORIKEET_INFLATE_BROKEN; }
            it->member_ended = 0;
            it->between = 0;
        }
        const size_t in_left = in_count - *consumed, out_left = out_count - *produced;
        it->zlib.next_in = (Bytef *)(in + *consumed);
        it->zlib.avail_in = in_left > UINT_MAX ? UINT_MAX : (uInt)in_left;
        it->zlib.next_out = out + *produced;
        it->zlib.avail_out = out_left > UINT_MAX ? UINT_MAX : (uInt)out_left;
        const int status = inflate(&it->zlib, Z_NO_FLUSH);
        *consumed = (size_t)(it->zlib.next_in - in);
        *produced = (size_t)(it->zlib.next_out - out);
        if (status == Z_STREAM_END) {
            it->member_ended = 1;
            it->between = 1;
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
            it->error = it->zlib.msg ? it->zlib.msg : status == Z_MEM_ERROR ? "out of memory" : "a dictionary is needed";
            return LORIKEET_INFLATE_BROKEN;
        } else if (status == Z_BUF_ERROR) {
            break;
        }
    }
    return it->between ? LORIKEET_INFLATE_BETWEEN : LORIKEET_INFLATE_MORE;
}

static enum lorikeet_inflate_status unzstd(
    lorikeet_inflater *it, const uint8_t *in, size_t in_count, size_t *consumed, uint8_t *out, size_t out_count, size_t *produced) {
    if (it->between && in_count == 0) return LORIKEET_INFLATE_BETWEEN;
    ZSTD_inBuffer input = {in, in_count, 0};
    ZSTD_outBuffer output = {out, out_count, 0};
    // Output may wait inside while there is no input left.
    do {
        const size_t before_in = input.pos, before_out = output.pos;
        const size_t status = ZSTD_decompressStream(it->zstd, &output, &input);
        if (ZSTD_isError(status)) {
            it->error = ZSTD_getErrorName(status);
            return LORIKEET_INFLATE_BROKEN;
        }
        it->between = status == 0;
        if (input.pos == before_in && output.pos == before_out) break;
    } while (output.pos < output.size && input.pos < input.size);
    *consumed = input.pos;
    *produced = output.pos;
    return it->between ? LORIKEET_INFLATE_BETWEEN : LORIKEET_INFLATE_MORE;
}

enum lorikeet_inflate_status lorikeet_inflate(
    lorikeet_inflater *it, const uint8_t *in, size_t in_count, size_t *consumed, uint8_t *out, size_t out_count, size_t *produced) {
    *consumed = 0;
    *produced = 0;
    if (it->error) return LORIKEET_INFLATE_BROKEN;
    return it->kind == LORIKEET_GZIP ? gunzip(it, in, in_count, consumed, out, out_count, produced)
                                     : unzstd(it, in, in_count, consumed, out, out_count, produced);
}

const char *lorikeet_inflater_error(const lorikeet_inflater *it) { return it->error; }

void lorikeet_inflater_free(lorikeet_inflater *it) {
    if (!it) return;
    if (it->kind == LORIKEET_GZIP) inflateEnd(&it->zlib);
    ZSTD_freeDStream(it->zstd);
    free(it);
}

size_t lorikeet_zstd_room(size_t count) { return ZSTD_compressBound(count); }

size_t lorikeet_zstd_pack(const uint8_t *in, size_t count, uint8_t *out, size_t room) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (!context) return 0;
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, ZSTD_maxCLevel());
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    const size_t size = ZSTD_compress2(context, out, room, in, count);
    ZSTD_freeCCtx(context);
    return ZSTD_isError(size) ? 0 : size;
}

size_t lorikeet_zstd_size(const uint8_t *in, size_t count) {
    const unsigned long long size = ZSTD_getFrameContentSize(in, count);
    return size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR ? 0 : (size_t)size;
}

size_t lorikeet_zstd_unpack(const uint8_t *in, size_t count, uint8_t *out, size_t room) {
    const size_t size = ZSTD_decompress(out, room, in, count);
    return ZSTD_isError(size) ? 0 : size;
}
