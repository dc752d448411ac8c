/* text_stream.h - tokens to the text that may be shown: whole code points only, and nothing in which a
 * stop string may be beginning.  One per sequence.  Thread: one at a time. */
#ifndef LOQUAT_DECODE_TEXT_STREAM_H
#define LOQUAT_DECODE_TEXT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/job.h"

struct tokenizer;
struct stop_set; /* the stop strings of a job, compiled; shared by its sequences */
struct text_stream;

/* Copies the strings; each 1 .. LIMIT_STOP_BYTES bytes, at most LIMIT_STOP_STRINGS of them. */
int stop_set_create(const struct engine_text *strings, size_t n, struct stop_set **out, struct error *e);
void stop_set_free(struct stop_set *s);

/* t and stops are borrowed and must outlive the stream. */
int text_stream_create(const struct tokenizer *t, bool show_control, const struct stop_set *stops,
                       struct text_stream **out, struct error *e);
/* These control tokens give text too; borrowed until free. */
void text_stream_show(struct text_stream *s, const int32_t *tokens, size_t n);
void text_stream_free(struct text_stream *s);

/* Adds a token.  Returns the index of the stop string that is complete now, or -1.  After a stop nothing may
 * be pushed.  memory: false in *ok when it ran out. */
int text_stream_push(struct text_stream *s, int32_t token, bool *ok);
/* No more tokens: what was held back becomes showable (nothing after a stop). */
void text_stream_finish(struct text_stream *s);

/* Text that became showable since the last call; borrowed until the next call on s. */
const char *text_stream_take(struct text_stream *s, size_t *len);

/* The string that text_stream_push() told the index of; borrowed. */
const char *stop_set_string(const struct stop_set *s, int index, size_t *len);
/* End of text or of a turn, as the checkpoint's vocabulary says. */
bool token_ends_generation(const struct tokenizer *t, int32_t id);

#endif
