/* terms.h - what two texts have in common: words folded to compare, and how telling each one is.
 * No stop words and no stemmer: a term counts by how rare it is in the documents, inflected forms match by
 * their common beginning, and scripts without spaces are compared in pairs of characters.
 * Callers: qa.c's files, on worker threads.  Memory: the arena. */
#ifndef LOQUAT_API_TERMS_H
#define LOQUAT_API_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

enum { TERM_CHARS = 24, TERMS_OF_QUERY = 64 };

struct term {
    int32_t chars[TERM_CHARS]; /* folded: compatibility forms, case and accents are gone */
    uint32_t n;
};

/* The terms of a text of documents, interned: ids count from 0. */
struct term_table {
    struct arena *arena;
    struct term *terms;
    uint32_t *spread; /* in how many passages each one is */
    uint32_t *seen;   /* the last passage it was seen in, + 1 */
    size_t n, cap;
    uint32_t *slots; /* hash table of id + 1 */
    size_t n_slots;
    uint32_t passages;
};

struct term_ids {
    const uint32_t *ids;
    size_t n;
};

void term_table_init(struct term_table *t, struct arena *arena);
/* The next passage's terms, in order, with repetitions. */
int term_table_add(struct term_table *t, const char *text, size_t len, struct term_ids *out, struct error *e);

/* A question or an answer: its distinct terms, at most TERMS_OF_QUERY. */
struct term_query {
    struct term terms[TERMS_OF_QUERY];
    float length[TERMS_OF_QUERY]; /* characters, at most 8; 8 for a number */
    float rarity[TERMS_OF_QUERY]; /* among the passages; largest for a term that is in none of them */
    size_t n;
    const uint8_t *match; /* (table.n) 1 + the query's term that each term of the table matches, or 0 */
};

/* match: the caller's table.n bytes, which the query goes on using. */
void term_query_make(const struct term_table *t, const char *text, size_t len, uint8_t *match,
                     struct term_query *out);
/* Which of the query's terms are among ids: bit i for terms[i]. */
uint64_t term_query_find(const struct term_query *q, const struct term_ids *ids);
/* Which of q's terms `other` has too. */
uint64_t term_query_common(const struct term_query *q, const struct term_query *other);
float term_query_weigh(const struct term_query *q, uint64_t bits);  /* sum of length times rarity */
float term_query_length(const struct term_query *q, uint64_t bits); /* sum of length */

#endif
