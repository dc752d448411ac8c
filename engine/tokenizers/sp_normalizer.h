/* sp_normalizer.h - a text as SentencePiece's pieces see it: characters mapped, runs of spaces squeezed,
 * spaces written as U+2581, and one of them put before the text (Kudo and Richardson, 2018).
 * Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_SP_NORMALIZER_H
#define LOQUAT_TOKENIZERS_SP_NORMALIZER_H

#include "engine/base/buf.h"
#include "engine/base/tokenizer_spec.h"
#include "engine/tokenizers/charsmap.h"
#include "engine/tokenizers/normalized.h"
#include "engine/tokenizers/piece_trie.h"

#define SP_SPACE "\xE2\x96\x81"

struct sp_normalizer {
    struct charsmap *map;           /* or NULL */
    struct piece_trie user_defined; /* pieces that stay as they are written */
    bool squeeze;                   /* no space at either end, no two in a row */
    bool prefix;                    /* a space before the text, or behind it when space_is_suffix */
    bool prefix_everywhere;         /* before every part of a text, not just the first */
    bool space_is_suffix;
    bool keep_spaces; /* spaces stay spaces */
};

/* n is zeroed; what it holds after an error is freed as after success. */
int sp_normalizer_init(struct sp_normalizer *n, const struct tokenizer_spec *spec, struct error *e);
void sp_normalizer_free(struct sp_normalizer *n);

/* As tokenizer_model.normalize says. O(length). */
int sp_normalize(const struct sp_normalizer *n, const struct normalized *in, bool first,
                 struct normalized *out, struct error *e);

/* As tokenizer_model.decode says: U+2581 is a space, a byte token its byte. */
void sp_decode(const struct token_spec *token, struct buf *out);

#endif
