/* charsmap.h - SentencePiece's precompiled normalisation map: a double-array trie (darts-clone) of byte
 * sequences, and their replacements, zero-terminated, in one block behind it.
 * Called by sp_normalizer.c and by normalize.c ("Precompiled").  Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_CHARSMAP_H
#define LOQUAT_TOKENIZERS_CHARSMAP_H

#include <stddef.h>

#include "engine/base/error.h"

struct charsmap;

/* data: uint32 size of the trie, the trie, the replacements; copied.  Lengths and offsets are checked; what
 * does not hold together is an error. */
int charsmap_create(const void *data, size_t len, struct charsmap **out, struct error *e);
void charsmap_free(struct charsmap *m); /* NULL is fine */

struct charsmap_match {
    size_t matched; /* bytes of the text; 0: no rule */
    const char *text;
    size_t len; /* of the replacement: UTF-8, borrowed from the map */
};

/* The longest rule that the text starts with, as SentencePiece applies them.  m may be NULL: no rules. */
struct charsmap_match charsmap_longest(const struct charsmap *m, const char *text, size_t len);

/* Bytes [start, end) of the text become these. */
typedef int (*charsmap_put)(void *sink, size_t start, size_t end, const char *text, size_t len,
                            struct error *e);

/* The whole text as the tokenizers library applies the map: a short grapheme whole, else each character, by
 * the shortest rule.  Parts that no rule changes are put as they are. */
int charsmap_normalize(const struct charsmap *m, const char *text, size_t len, charsmap_put put, void *sink,
                       struct error *e);

#endif
