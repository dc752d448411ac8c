/* postprocess.h - the post_processor of a tokenizer.json: where special tokens stand round one text or a
 * pair, which token types all have, and whether spaces count to the places of tokens. Immutable once built:
 * any thread. */
#ifndef LOQUAT_TOKENIZERS_POSTPROCESS_H
#define LOQUAT_TOKENIZERS_POSTPROCESS_H

#include <jansson.h>

#include "engine/base/tokenizer_spec.h"
#include "engine/tokenizers/tokenizer.h"

/* A special token, or the place of a whole text. */
struct template_piece {
    int32_t id;       /* -1: the text number `sequence` */
    uint8_t sequence; /* 0 or 1 */
    uint8_t type;
};

struct template_list {
    struct template_piece *pieces;
    size_t n, cap;
};

enum { MAX_TRIMS = 4 };

struct postprocessor {
    struct template_list single, pair;
    /* Spaces at the ends of tokens are not part of their places; a single space that a prefix brought stays.
     */
    size_t n_trims;
    bool trim_keeps_prefix[MAX_TRIMS];
};

/* json: an object of the library's words, or NULL: BOS and EOS as the spec's flags say.  Ids are checked. */
int postprocessor_create(const json_t *json, const struct tokenizer_spec *spec, struct postprocessor **out,
                         struct error *e);
void postprocessor_free(struct postprocessor *p); /* NULL is fine */

#endif
