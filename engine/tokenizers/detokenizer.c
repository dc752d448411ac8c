/* detokenizer.c - ids back to text as they come: whole code points only (see tokenizer.h).
 * Called by the scheduler's thread for a stream and by anyone for a list; one thread per detokenizer. */
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/tokenizer.h"

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool show_control)
{
    memset(d, 0, sizeof *d);
    d->tokenizer = t;
    d->show_control = show_control;
}

/* One byte more of a code point that has begun. */
static void continue_pending(struct detokenizer *d, unsigned char byte, struct buf *out)
{
    char held[4];
    memcpy(held, d->pending, d->n_pending);
    held[d->n_pending] = (char)byte;
    size_t n = d->n_pending + 1u;
    size_t left = utf8_append_lossy(out, held, n);
    memcpy(d->pending, held + n - left, left);
    d->n_pending = (uint8_t)left;
}

static void push_bytes(struct detokenizer *d, const char *bytes, size_t len, struct buf *out)
{
    while (len > 0 && d->n_pending > 0) {
        continue_pending(d, (unsigned char)*bytes++, out);
        len--;
    }
    size_t left = utf8_append_lossy(out, bytes, len);
    if (left > 0)
        memcpy(d->pending, bytes + len - left, left);
    if (len > 0)
        d->n_pending = (uint8_t)left;
}

void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
    size_t len;
    const char *bytes = tokenizer_token_bytes(d->tokenizer, id, &len);
    d->started = true;
    if (!tokenizer_is_control(d->tokenizer, id)) {
        push_bytes(d, bytes, len, out);
        return;
    }
    if (!d->show_control)
        return;
    detokenizer_finish(d, out); /* nothing behind a control token completes what was before it */
    push_bytes(d, bytes, len, out);
}

void detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    if (d->n_pending > 0)
        buf_add_text(out, UTF8_REPLACEMENT);
    d->n_pending = 0;
}
