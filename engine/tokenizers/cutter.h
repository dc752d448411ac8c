/* cutter.h - the pre_tokenizer of a tokenizer.json: cuts a normalised text into pieces that the model sees
 * one by one, and rewrites them where its steps do (ByteLevel, Metaspace). Immutable once built: any thread.
 */
#ifndef LOQUAT_TOKENIZERS_CUTTER_H
#define LOQUAT_TOKENIZERS_CUTTER_H

#include <jansson.h>

#include "engine/tokenizers/normalized.h"
#include "engine/tokenizers/pretokenize.h"

struct cutter;

/* json: an object of the library's words.  An unknown type is an error that names it. */
int cutter_create(const json_t *json, struct cutter **out, struct error *e);
void cutter_free(struct cutter *c); /* NULL is fine */

/* Replaces what *pieces held; the text may be rewritten in place.  Linear. */
int cutter_run(const struct cutter *c, struct normalized *text, struct piece_list *pieces, struct error *e);

#endif
