/* special.h - finds added and special tokens in a text: leftmost, and the longest of those that start there.
 * Called by tokenizer.c.  Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_SPECIAL_H
#define LOQUAT_TOKENIZERS_SPECIAL_H

#include "engine/tokenizers/tokenizer.h"

struct special_set;

struct special_token {
    const char *text;
    size_t len; /* 0: never found */
    int32_t id;
    bool control;
};

/* Texts are copied.  One longer than LIMIT_SPECIAL_TOKEN_BYTES is an error. */
int special_set_create(const struct special_token *tokens, size_t n, struct special_set **out,
                       struct error *e);
void special_set_free(struct special_set *s);

/* The longest token that text[0 .. len) starts with: its id, and its length in *matched; -1: none.
 * Control tokens count only when with_control. */
int32_t special_match(const struct special_set *s, const char *text, size_t len, bool with_control,
                      size_t *matched);

#endif
