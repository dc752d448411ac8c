/* detokenizer.c - ids back to text as they come: whole code points only (see tokenizer.h).
 * Called by the scheduler's thread for a stream and by anyone for a list; one thread per detokenizer. */
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/decoder.h"
#include "engine/tokenizers/detokenize.h"
#include "engine/tokenizers/tokenizer.h"

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool show_control)
{
    memset(d, 0, sizeof *d);
    d->tokenizer = t;
    d->show_control = show_control;
    d->last = -1;
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

static void end_pending(struct detokenizer *d, struct buf *out)
{
    if (d->n_pending > 0)
        buf_add_text(out, UTF8_REPLACEMENT);
    d->n_pending = 0;
}

/* Models without a decoder: each token has its bytes, and control tokens stand apart. */
static void push_plain(struct detokenizer *d, int32_t id, struct buf *out)
{
    size_t len;
    const char *bytes = tokenizer_token_bytes(d->tokenizer, id, &len);
    if (tokenizer_is_control(d->tokenizer, id)) {
        end_pending(d, out); /* nothing behind a control token completes what was before it */
    } else if (!d->started && len > 0 && bytes[0] == ' ' && tokenizer_drops_first_space(d->tokenizer)) {
        bytes++;
        len--;
    }
    push_bytes(d, bytes, len, out);
}

static void decode(struct detokenizer *d, const struct decoder *decoder, int32_t id, bool last,
                   struct buf *out)
{
    size_t len;
    const char *text = tokenizer_token_text(d->tokenizer, id, &len);
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX / 4);
    decoder_push(decoder, &d->state, text, len, last, &bytes);
    push_bytes(d, bytes.data ? bytes.data : "", bytes.len, out);
    out->failed = out->failed || bytes.failed;
    buf_free(&bytes);
}

static void push_decoded(struct detokenizer *d, const struct decoder *decoder, int32_t id, struct buf *out)
{
    if (!d->begun && d->started)
        decoder_continue(decoder, &d->state);
    d->begun = true;
    if (decoder_holds_last(decoder)) {
        if (d->last >= 0)
            decode(d, decoder, d->last, false, out);
        d->last = id;
    } else if (decoder_drops_repeats(decoder)) {
        if (d->last != id)
            decode(d, decoder, id, false, out);
        d->last = id;
    } else if (d->state.seen && decoder_is_plain(decoder) && !tokenizer_is_control(d->tokenizer, id)) {
        size_t len;
        const char *bytes = tokenizer_token_bytes(d->tokenizer, id, &len);
        push_bytes(d, bytes, len, out);
    } else {
        decode(d, decoder, id, false, out);
    }
}

static bool is_hidden(const struct detokenizer *d, int32_t id)
{
    if (d->show_control || !tokenizer_is_control(d->tokenizer, id))
        return false;
    for (size_t i = 0; i < d->n_shown; i++) {
        if (d->shown[i] == id)
            return false;
    }
    return true;
}

void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
    const struct decoder *decoder = tokenizer_decoder(d->tokenizer);
    size_t len;
    if (is_hidden(d, id))
        return;
    if (decoder && (tokenizer_token_text(d->tokenizer, id, &len), len == 0))
        return; /* an id that no token has */
    if (decoder)
        push_decoded(d, decoder, id, out);
    else
        push_plain(d, id, out);
    d->started = true;
}

void detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    const struct decoder *decoder = tokenizer_decoder(d->tokenizer);
    if (decoder) {
        struct buf rest;
        if (decoder_holds_last(decoder) && d->last >= 0)
            decode(d, decoder, d->last, true, out);
        d->last = -1;
        buf_init(&rest, SIZE_MAX / 4);
        decoder_finish(decoder, &d->state, &rest);
        push_bytes(d, rest.data ? rest.data : "", rest.len, out);
        out->failed = out->failed || rest.failed;
        buf_free(&rest);
    }
    end_pending(d, out);
}
