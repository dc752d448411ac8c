/* bytes.c - see bytes.h.  A file is seen through one window that moves forward with the reader and
 * grows to the largest single take; memory is handed out as it is. */
#include "engine/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/limits.h"

enum { WINDOW = 256 << 10 };

struct bytes {
    int fd;                /* -1: memory */
    const uint8_t *memory; /* borrowed */
    uint64_t size, offset;
    uint8_t *window; /* (window_cap) bytes; window_len of them are the file's from window_start on */
    size_t window_cap, window_len;
    uint64_t window_start;
};

static int open_regular(const char *path, uint64_t *size, struct error *e)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, ERROR_FILE_ACCESS, "cannot open the file: %s", strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0) {
        error_set(e, ERROR_FILE_ACCESS, "cannot examine the file: %s", strerror(errno));
        goto close_file;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(e, ERROR_FILE_ACCESS, "%s",
                  S_ISDIR(st.st_mode) ? "is a folder, not a file" : "is not a regular file");
        goto close_file;
    }
    *size = (uint64_t)st.st_size;
    return fd;
close_file:
    close(fd);
    return -1;
}

int bytes_open_file(const char *path, struct bytes **out, struct error *e)
{
    uint64_t size = 0;
    int fd = open_regular(path, &size, e);
    if (fd < 0)
        return -1;
    struct bytes *b = calloc(1, sizeof *b);
    if (!b) {
        close(fd);
        return error_no_memory(e);
    }
    b->fd = fd;
    b->size = size;
    *out = b;
    return 0;
}

int bytes_open_memory(const void *data, size_t len, struct bytes **out, struct error *e)
{
    struct bytes *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(e);
    b->fd = -1;
    b->memory = data;
    b->size = len;
    *out = b;
    return 0;
}

void bytes_close(struct bytes *b)
{
    if (!b)
        return;
    if (b->fd >= 0)
        close(b->fd);
    free(b->window);
    free(b);
}

uint64_t bytes_size(const struct bytes *b)
{
    return b->size;
}

uint64_t bytes_offset(const struct bytes *b)
{
    return b->offset;
}

uint64_t bytes_left(const struct bytes *b)
{
    return b->size - b->offset;
}

/* Counts what is missing, so that a reader of the message need not know the file's size. */
static int error_too_short(const struct bytes *b, uint64_t n, const char *what, struct error *e)
{
    return error_at(e, ERROR_BAD_FORMAT, b->offset,
                    "%s needs %" PRIu64 " bytes but the file has only %" PRIu64 " left", what, n,
                    bytes_left(b));
}

static int read_fully(int fd, uint64_t offset, uint8_t *dst, size_t n, struct error *e)
{
    while (n > 0) {
        ssize_t got = pread(fd, dst, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_at(e, ERROR_FILE_ACCESS, offset, "cannot read the file: %s", strerror(errno));
        if (got == 0)
            return error_at(e, ERROR_FILE_ACCESS, offset, "the file became shorter while it was read");
        dst += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

static bool in_window(const struct bytes *b, size_t n)
{
    return b->offset >= b->window_start && b->offset - b->window_start <= b->window_len &&
           b->window_len - (b->offset - b->window_start) >= n;
}

static int move_window(struct bytes *b, size_t n, struct error *e)
{
    size_t want = n > WINDOW ? n : WINDOW;
    if (want > b->window_cap) {
        uint8_t *grown = realloc(b->window, want);
        if (!grown)
            return error_no_memory(e);
        b->window = grown;
        b->window_cap = want;
    }
    uint64_t left = bytes_left(b);
    size_t len = left < b->window_cap ? (size_t)left : b->window_cap;
    b->window_len = 0;
    TRY(read_fully(b->fd, b->offset, b->window, len, e));
    b->window_start = b->offset;
    b->window_len = len;
    return 0;
}

int bytes_take(struct bytes *b, uint64_t n, const void **out, const char *what, struct error *e)
{
    if (n > bytes_left(b))
        return error_too_short(b, n, what, e);
    if (n > LIMIT_TAKE)
        return error_at(e, ERROR_BAD_FORMAT, b->offset, "%s has %" PRIu64 " bytes; at most %u are accepted",
                        what, n, LIMIT_TAKE);
    if (b->fd < 0) {
        *out = n ? (const void *)(b->memory + b->offset) : (const void *)"";
    } else {
        if (!in_window(b, (size_t)n) || !b->window)
            TRY(move_window(b, (size_t)n, e));
        *out = b->window + (b->offset - b->window_start);
    }
    b->offset += n;
    return 0;
}

int bytes_skip(struct bytes *b, uint64_t n, const char *what, struct error *e)
{
    if (n > bytes_left(b))
        return error_too_short(b, n, what, e);
    b->offset += n;
    return 0;
}

static int take_little_endian(struct bytes *b, unsigned n, uint64_t *out, const char *what, struct error *e)
{
    const void *p;
    TRY(bytes_take(b, n, &p, what, e));
    uint64_t value = 0;
    for (unsigned i = n; i-- > 0;)
        value = value << 8 | ((const uint8_t *)p)[i];
    *out = value;
    return 0;
}

int bytes_u8(struct bytes *b, uint8_t *out, const char *what, struct error *e)
{
    uint64_t value;
    TRY(take_little_endian(b, 1, &value, what, e));
    *out = (uint8_t)value;
    return 0;
}

int bytes_u16(struct bytes *b, uint16_t *out, const char *what, struct error *e)
{
    uint64_t value;
    TRY(take_little_endian(b, 2, &value, what, e));
    *out = (uint16_t)value;
    return 0;
}

int bytes_u32(struct bytes *b, uint32_t *out, const char *what, struct error *e)
{
    uint64_t value;
    TRY(take_little_endian(b, 4, &value, what, e));
    *out = (uint32_t)value;
    return 0;
}

int bytes_u64(struct bytes *b, uint64_t *out, const char *what, struct error *e)
{
    return take_little_endian(b, 8, out, what, e);
}

int bytes_expect(const struct bytes *b, uint64_t count, uint64_t min_size, const char *what, struct error *e)
{
    if (min_size == 0 || count <= bytes_left(b) / min_size)
        return 0;
    return error_at(e, ERROR_BAD_FORMAT, b->offset,
                    "%s: %" PRIu64 " of at least %" PRIu64 " bytes each cannot be in the %" PRIu64
                    " bytes left",
                    what, count, min_size, bytes_left(b));
}

int bytes_read_at(const struct bytes *b, uint64_t offset, void *dst, size_t n, struct error *e)
{
    if (offset > b->size || n > b->size - offset)
        return error_at(e, ERROR_BAD_FORMAT, offset, "%zu bytes are needed but the file has only %" PRIu64, n,
                        b->size);
    if (b->fd >= 0)
        return read_fully(b->fd, offset, dst, n, e);
    if (n)
        memcpy(dst, b->memory + offset, n);
    return 0;
}
