/* bytes.h - the only way a file's bytes come in: ask for n, get a pointer or an error.
 * The source is a file (read with pread in pieces, never mapped, so that a file cut short under
 * us is an error and not a SIGBUS) or memory (tests, fuzzers).  Counts that a file claims are
 * compared with bytes_left() before anything is allocated for them.
 * Thread: one reader at a time, except bytes_read_at(), which any thread may call. */
#ifndef LOQUAT_BASE_BYTES_H
#define LOQUAT_BASE_BYTES_H

#include <stdint.h>
#include <stddef.h>

#include "engine/base/error.h"

struct bytes;

int bytes_open_file(const char *path, struct bytes **out, struct error *e);
int bytes_open_memory(const void *data, size_t len, struct bytes **out, struct error *e); /* borrowed */
void bytes_close(struct bytes *b);                                                        /* NULL is fine */

uint64_t bytes_size(const struct bytes *b);
uint64_t bytes_offset(const struct bytes *b);
uint64_t bytes_left(const struct bytes *b);

/* The next n bytes, valid until the next take; n > bytes_left() or > LIMIT_TAKE is an error
 * that names `what` and the offset. */
int bytes_take(struct bytes *b, uint64_t n, const void **out, const char *what, struct error *e);
int bytes_skip(struct bytes *b, uint64_t n, const char *what, struct error *e);
int bytes_u8(struct bytes *b, uint8_t *out, const char *what, struct error *e);
int bytes_u16(struct bytes *b, uint16_t *out, const char *what, struct error *e); /* little endian */
int bytes_u32(struct bytes *b, uint32_t *out, const char *what, struct error *e);
int bytes_u64(struct bytes *b, uint64_t *out, const char *what, struct error *e);

/* A count of things of at least min_size bytes each: an error unless they can still be there. */
int bytes_expect(const struct bytes *b, uint64_t count, uint64_t min_size, const char *what, struct error *e);

/* n bytes at an absolute offset into dst, wherever the reader stands.  Any thread. */
int bytes_read_at(const struct bytes *b, uint64_t offset, void *dst, size_t n, struct error *e);

#endif
