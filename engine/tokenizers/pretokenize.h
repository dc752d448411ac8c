/* pretokenize.h - cuts a text into the words that byte-pair merges may not cross.
 * The PRE-TOKENIZER TABLE maps the name a checkpoint gives to regular expressions applied one after
 * another: each cuts the pieces of the one before; what lies between matches is a piece too.
 * Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_PRETOKENIZE_H
#define LOQUAT_TOKENIZERS_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/tokenizers/tokenizer.h"

struct pretokenizer;

/* An unknown name is an error that names it; NULL or "" (old files) is the row "default", with a warning. */
int pretokenizer_create(const char *name, struct pretokenizer **out, struct error *e);
void pretokenizer_free(struct pretokenizer *p);
bool pretokenizer_whole_words(
    const struct pretokenizer *p); /* a word that is a token is not merged from bytes */

/* Whether models with this pre-tokenizer begin with BOS when their file does not say. */
bool pretokenizer_adds_bos(const char *name);

/* Pieces of a text: bytes [start, end), ascending, disjoint, none empty. */
struct piece_list {
    struct text_span *spans;
    size_t n, cap;
};
void piece_list_free(struct piece_list *l);
/* An empty piece is left out. */
int piece_list_add(struct piece_list *l, size_t start, size_t end, struct error *e);

/* text: valid UTF-8.  Replaces what *out held. */
int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, struct piece_list *out,
                       struct error *e);

#endif
