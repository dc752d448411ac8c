/* vocabulary.h - tokens of a tokenizer file while it is read: ids that come in any order, texts that name
 * ids. Called by tokenizer_json.c and tokenizer_files.c; one thread.  Texts and the array live in the arena.
 */
#ifndef LOQUAT_FORMATS_VOCABULARY_H
#define LOQUAT_FORMATS_VOCABULARY_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/string_table.h"
#include "engine/base/tokenizer_spec.h"

struct vocabulary {
    struct arena *arena;
    struct token_spec *tokens; /* (n) ids without a token are TOKEN_UNUSED without text */
    size_t n, given;
    struct string_table ids; /* texts of tokens; the first id of a text */
    struct added_token *added;
    size_t n_added, max_added;
};

/* For ids below n, and max_added added tokens.  Ids may have gaps, but not a table's worth of them for a few
 * tokens: an n out of proportion to `count`, the tokens there are, is an error. */
int vocabulary_begin(struct vocabulary *v, struct arena *arena, size_t n, size_t count, size_t max_added,
                     struct error *e);
void vocabulary_end(struct vocabulary *v); /* also of a zeroed one; what is in the arena stays */

/* An id that has a token already is an error. */
int vocabulary_set(struct vocabulary *v, size_t id, const char *text, size_t len, enum token_type type,
                   double score, struct error *e);
int32_t vocabulary_find(const struct vocabulary *v, const char *text, size_t len); /* -1: no such token */

/* added.id is where the file wants it; a token of this text elsewhere wins.  The token's type follows. */
int vocabulary_add(struct vocabulary *v, const char *text, size_t len, struct added_token added,
                   struct error *e);

/* tokens, n_tokens, added of the spec. */
void vocabulary_give(const struct vocabulary *v, struct tokenizer_spec *out);

/* {token: id}: the largest id + 1, and every value checked. */
int vocabulary_object_size(const json_t *object, size_t *n, struct error *e);
int vocabulary_set_object(struct vocabulary *v, const json_t *object, struct error *e);
/* One object of added_tokens; *len and *text are borrowed. */
int vocabulary_read_added(const json_t *json, const char **text, size_t *len, struct added_token *out,
                          struct error *e);

#endif
