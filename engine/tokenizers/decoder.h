/* decoder.h - the decoder of a tokenizer.json: how tokens' texts become text again, token by token.
 * The library decodes a whole list at once; here the same comes out piece by piece, and only what a later
 * token can still change is held back (struct decode_state in tokenizer.h). Immutable once built: any thread;
 * a state belongs to one. */
#ifndef LOQUAT_TOKENIZERS_DECODER_H
#define LOQUAT_TOKENIZERS_DECODER_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/base/buf.h"
#include "engine/tokenizers/tokenizer.h"

struct decoder;

/* json: an object of the library's words.  Unknown types, and orders of steps that cannot be streamed, are
 * errors that name them. */
int decoder_create(const json_t *json, struct decoder **out, struct error *e);
/* Tokens joined by a text. */
int decoder_create_join(const char *separator, struct decoder **out, struct error *e);
void decoder_free(struct decoder *d); /* NULL is fine */

bool decoder_holds_last(
    const struct decoder *d); /* the last token reads differently: one must be held back */
bool decoder_drops_repeats(const struct decoder *d); /* a token that comes twice in a row counts once */
/* What is left to do for a token behind the first when decoder_word() was done beforehand: nothing. */
bool decoder_is_plain(const struct decoder *d);

/* A token's text by itself, in the middle of a text: appended.  "<0x0A>" is a byte where the decoder says so.
 */
void decoder_word(const struct decoder *d, const char *text, size_t len, struct buf *out);

/* The next token's text: appends what is certain now.  Bytes may be parts of characters. */
void decoder_push(const struct decoder *d, struct decode_state *s, const char *text, size_t len, bool last,
                  struct buf *out);
void decoder_finish(const struct decoder *d, struct decode_state *s, struct buf *out);
/* The text goes on behind another: no rule for a text's beginning applies. */
void decoder_continue(const struct decoder *d, struct decode_state *s);

#endif
