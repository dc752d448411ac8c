/* arpa_lines.c - the lines of an ARPA file, inflated on the way when it is gzip'ed (RFC 1952), in pieces.
 * Called by arpa_text.c while a file is opened.  What a few bytes may inflate to is bounded. */
#include <stdlib.h>
#include <string.h>

#include "engine/formats/arpa.h"

enum { CHUNK = 64 << 10, MEMORY_CHOICE = 32 }; /* 32: zlib finds out whether it is gzip or zlib */

int arpa_lines_init(struct arpa_lines *l, struct bytes *b, struct error *e)
{
    uint8_t magic[2] = {0};
    memset(l, 0, sizeof *l);
    l->bytes = b;
    buf_init(&l->line, LIMIT_ARPA_LINE);
    l->chunk = malloc(CHUNK);
    if (!l->chunk)
        return error_no_memory(e);
    if (bytes_size(b) >= sizeof magic)
        TRY(bytes_read_at(b, 0, magic, sizeof magic, e));
    l->gzip = magic[0] == 0x1F && magic[1] == 0x8B;
    if (l->gzip && inflateInit2(&l->z, MAX_WBITS + MEMORY_CHOICE) != Z_OK)
        return error_no_memory(e);
    l->inflating = l->gzip;
    return 0;
}

void arpa_lines_free(struct arpa_lines *l)
{
    if (l->inflating)
        inflateEnd(&l->z);
    free(l->chunk);
    buf_free(&l->line);
    memset(l, 0, sizeof *l);
}

static int check_expansion(struct arpa_lines *l, struct error *e)
{
    uint64_t read = bytes_offset(l->bytes) - l->z.avail_in;
    if (l->inflated <= LIMIT_ARPA_FREE_EXPANSION || l->inflated / LIMIT_ARPA_EXPANSION <= read)
        return 0;
    return error_at(e, ERROR_BAD_FORMAT, read,
                    "the file inflates to more than %d times its size; no list of n-grams does",
                    LIMIT_ARPA_EXPANSION);
}

static int take_input(struct arpa_lines *l, struct error *e)
{
    const void *in;
    uint64_t n = bytes_left(l->bytes) < CHUNK ? bytes_left(l->bytes) : CHUNK;
    TRY(bytes_take(l->bytes, n, &in, "the compressed text", e));
    l->z.next_in = (unsigned char *)(uintptr_t)in;
    l->z.avail_in = (uInt)n;
    return 0;
}

/* At least a byte into the chunk, or l->ended. */
static int inflate_chunk(struct arpa_lines *l, struct error *e)
{
    l->z.next_out = l->chunk;
    l->z.avail_out = CHUNK;
    while (l->z.avail_out == CHUNK) {
        if (l->z.avail_in == 0 && bytes_left(l->bytes) > 0)
            TRY(take_input(l, e));
        int status = inflate(&l->z, Z_NO_FLUSH);
        bool more = l->z.avail_in > 0 || bytes_left(l->bytes) > 0;
        if (status == Z_STREAM_END && more)
            inflateReset(&l->z); /* gzip files may follow each other */
        else if (status == Z_STREAM_END)
            l->ended = true;
        else if (status != Z_OK && !(status == Z_BUF_ERROR && more))
            return error_at(e, ERROR_BAD_FORMAT, bytes_offset(l->bytes) - l->z.avail_in,
                            "the compressed text is %s",
                            status == Z_BUF_ERROR ? "cut off"
                            : l->z.msg            ? l->z.msg
                                                  : "broken");
        if (l->ended)
            break;
    }
    l->n = CHUNK - l->z.avail_out;
    l->inflated += l->n;
    return check_expansion(l, e);
}

static int read_chunk(struct arpa_lines *l, struct error *e)
{
    const void *text;
    l->at = l->n = 0;
    if (l->gzip)
        return l->ended ? 0 : inflate_chunk(l, e);
    l->n = bytes_left(l->bytes) < CHUNK ? (size_t)bytes_left(l->bytes) : CHUNK;
    TRY(bytes_take(l->bytes, l->n, &text, "the text", e));
    memcpy(l->chunk, text, l->n);
    return 0;
}

static int end_line(struct arpa_lines *l, char **text, struct error *e)
{
    l->number++;
    buf_add(&l->line, "", 0);
    if (l->line.failed)
        return error_set(e, ERROR_BAD_FORMAT, "the line is longer than %d bytes", LIMIT_ARPA_LINE);
    while (l->line.len > 0 && l->line.data[l->line.len - 1] == '\r')
        l->line.data[--l->line.len] = 0;
    *text = l->line.data;
    if (l->line.len > 0 && memchr(l->line.data, 0, l->line.len))
        return error_set(e, ERROR_BAD_FORMAT, "the line is no text");
    return 0;
}

int arpa_lines_next(struct arpa_lines *l, char **text, struct error *e)
{
    buf_clear(&l->line);
    for (;;) {
        if (l->at == l->n) {
            TRY(read_chunk(l, e));
            if (l->n == 0)
                break;
        }
        const unsigned char *from = l->chunk + l->at, *newline = memchr(from, '\n', l->n - l->at);
        size_t n = newline ? (size_t)(newline - from) : l->n - l->at;
        buf_add(&l->line, from, n);
        l->at += newline ? n + 1 : n;
        if (newline || l->line.failed)
            return end_line(l, text, e);
    }
    *text = NULL;
    return l->line.len > 0 ? end_line(l, text, e) : 0;
}
