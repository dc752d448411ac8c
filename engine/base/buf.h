/* buf.h - growing bytes with a ceiling given at birth.  A failed append (ceiling, memory) sets
 * `failed` and every later append does nothing, so callers check once at the end.
 * Thread: one at a time. */
#ifndef LOQUAT_BASE_BUF_H
#define LOQUAT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* len bytes and a terminating zero; NULL while nothing was appended */
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_free(struct buf *b); /* leaves an empty buf with the same ceiling */
void buf_clear(struct buf *b);
void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_drop_front(struct buf *b, size_t len); /* forgets the first len bytes */

#endif
