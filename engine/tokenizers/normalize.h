/* normalize.h - the normalizer of a tokenizer.json: steps that rewrite a text before it is cut.
 * Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_NORMALIZE_H
#define LOQUAT_TOKENIZERS_NORMALIZE_H

#include <jansson.h>

#include "engine/tokenizers/normalized.h"

struct normalizer;

/* json: an object of the library's words.  An unknown type is an error that names it. */
int normalizer_create(const json_t *json, struct normalizer **out, struct error *e);
void normalizer_free(struct normalizer *n); /* NULL is fine */

/* In place.  Each step is linear; a text that grows without measure is an error. */
int normalizer_run(const struct normalizer *n, struct normalized *text, struct error *e);

/* GPT-2's printable characters for each byte of [start, end), appended. */
void normalized_add_bytes(struct normalized *n, const struct normalized *from, size_t start, size_t end);

#endif
