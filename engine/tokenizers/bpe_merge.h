/* bpe_merge.h - byte-pair merges (Sennrich et al., 2016): of all neighbours in a word, the pair that stands
 * first in the list of merges is joined, leftmost first, until none is left.  A heap of candidates makes that
 * O(n log n) for one word of any length.
 * Called by bpe.c and bpe_bytes.c.  The table is immutable once built (any thread); a word belongs to one. */
#ifndef LOQUAT_TOKENIZERS_BPE_MERGE_H
#define LOQUAT_TOKENIZERS_BPE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/string_table.h"
#include "engine/base/tokenizer_spec.h"
#include "engine/tokenizers/merge_heap.h"

struct pair_slot {
    int32_t left, right; /* ids; left < 0: free */
    uint32_t rank;
};

struct merge_table {
    struct pair_slot *slots; /* (mask + 1) */
    size_t mask;
    int32_t *merged; /* (n_merges): what the merge of a rank makes; -1: a merge that was left out */
};

enum {
    MERGES_FIRST_WINS = 1,   /* of equal pairs the first counts, else the last */
    MERGES_SKIP_CONTROL = 2, /* merges that touch control tokens are left out */
};

/* Merges that make a control token are left out, so that no text becomes one.
 * prefix_len: bytes at the front of a right part that are not in what it makes ("##").
 * A merge that names an unknown token, or makes one, is an error. */
int merge_table_init(struct merge_table *t, const struct tokenizer_spec *spec, const struct string_table *ids,
                     size_t prefix_len, unsigned flags, struct error *e);
void merge_table_free(struct merge_table *t); /* also of a zeroed one */

/* Texts of all tokens to their ids; a text that comes twice is an error. */
int index_tokens(const struct tokenizer_spec *spec, struct string_table *ids, struct error *e);

struct symbol {
    int32_t id; /* -1: merged into a neighbour */
    uint32_t prev, next;
    uint32_t len;  /* bytes of the text */
    uint32_t rank; /* of the merge with the next one; NO_SYMBOL: they do not merge */
};
#define NO_SYMBOL UINT32_MAX

/* One word while it is merged; kept for its room. */
struct merge_word {
    struct symbol *symbols;
    size_t n, cap;
    struct merge_heap heap;
};
void merge_word_free(struct merge_word *w); /* also of a zeroed one */
/* Room for n symbols; n is at most UINT32_MAX / 4. */
int merge_word_reserve(struct merge_word *w, size_t n, struct error *e);
/* Room must be there. */
static inline void merge_word_add(struct merge_word *w, int32_t id, uint32_t len)
{
    uint32_t i = (uint32_t)w->n++;
    w->symbols[i] = (struct symbol){id, i - 1, i + 1, len,
                                    NO_SYMBOL}; /* 0 - 1 is NO_SYMBOL; the last is set by the run */
}
/* The word must not be empty.  What is left is the list from symbol 0 on. */
void merge_word_run(struct merge_word *w, const struct merge_table *t);

#endif
