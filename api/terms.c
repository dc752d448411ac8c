/* terms.c - see terms.h. */
#include "api/terms.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "api/sentences.h"
#include "engine/base/hash.h"

/* ---- folding -------------------------------------------------------------------------------- */

struct term_reader {
    const char *text;
    size_t len, at;
    struct term pending; /* a word that is being read */
    int32_t before;      /* the character of a script without spaces just before, or 0 */
    bool paired;         /* it is in a pair already */
};

static bool is_word_category(utf8proc_category_t category)
{
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static bool is_mark_category(utf8proc_category_t category)
{
    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

static void push_folded(struct term *t, uint32_t c)
{
    utf8proc_int32_t folded[18];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)c, folded, 18,
        UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_DECOMPOSE | UTF8PROC_STRIPMARK, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 18 && t->n < TERM_CHARS; i++)
        t->chars[t->n++] = folded[i];
}

/* A single character that had no neighbour is a term by itself. */
static bool end_run(struct term_reader *r, struct term *out)
{
    bool alone = r->before && !r->paired;
    if (alone)
        *out = (struct term){.chars = {r->before}, .n = 1};
    r->before = 0;
    r->paired = false;
    return alone;
}

static bool end_word(struct term_reader *r, struct term *out)
{
    if (r->pending.n == 0)
        return false;
    *out = r->pending;
    memset(&r->pending, 0, sizeof r->pending);
    return true;
}

/* Returns whether a pair came out of it. */
static bool take_unspaced(struct term_reader *r, uint32_t c, struct term *out)
{
    bool pair = r->before != 0;
    if (pair)
        *out = (struct term){.chars = {r->before, (int32_t)c}, .n = 2};
    r->paired = pair;
    r->before = (int32_t)c;
    return pair;
}

/* The next term; false at the end. */
static bool next_term(struct term_reader *r, struct term *out)
{
    while (r->at < r->len) {
        size_t width;
        uint32_t c = char_at(r->text, r->len, r->at, &width);
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        bool word = is_word_category(category), unspaced = char_is_unspaced(c);
        if (unspaced && (word || is_mark_category(category))) {
            if (end_word(r, out)) /* this character again next time */
                return true;
            r->at += width;
            if (take_unspaced(r, c, out))
                return true;
            continue;
        }
        if (end_run(r, out))
            return true;
        r->at += width;
        if (word)
            push_folded(&r->pending, c);
        else if (!is_mark_category(category) && end_word(r, out))
            return true;
    }
    return end_word(r, out) || end_run(r, out);
}

/* ---- the table ------------------------------------------------------------------------------ */

void term_table_init(struct term_table *t, struct arena *arena)
{
    memset(t, 0, sizeof *t);
    t->arena = arena;
}

/* Keyed by an address, so that nobody can prepare terms that collide. */
static uint64_t hash_term(const struct term_table *t, const struct term *term)
{
    uint64_t h = (uint64_t)(uintptr_t)t->arena;
    for (uint32_t i = 0; i < term->n; i++)
        h = hash_mix(h, (uint64_t)term->chars[i]);
    return h;
}

static bool same_term(const struct term *a, const struct term *b)
{
    return a->n == b->n && memcmp(a->chars, b->chars, a->n * sizeof a->chars[0]) == 0;
}

static uint32_t *find_slot(const struct term_table *t, const struct term *term)
{
    size_t i = (size_t)hash_term(t, term) & (t->n_slots - 1);
    while (t->slots[i] && !same_term(&t->terms[t->slots[i] - 1], term))
        i = (i + 1) & (t->n_slots - 1);
    return &t->slots[i];
}

/* The arena keeps what is outgrown: together less than what is in use. */
static int grow(struct term_table *t, struct error *e)
{
    size_t cap = t->cap ? 2 * t->cap : 512;
    struct term *terms = arena_alloc(t->arena, cap, sizeof *terms);
    uint32_t *spread = arena_alloc(t->arena, cap, sizeof *spread);
    uint32_t *seen = arena_alloc(t->arena, cap, sizeof *seen);
    uint32_t *slots = arena_alloc(t->arena, 2 * cap, sizeof *slots);
    if (!terms || !spread || !seen || !slots)
        return error_no_memory(e);
    if (t->n) {
        memcpy(terms, t->terms, t->n * sizeof *terms);
        memcpy(spread, t->spread, t->n * sizeof *spread);
        memcpy(seen, t->seen, t->n * sizeof *seen);
    }
    t->terms = terms;
    t->spread = spread;
    t->seen = seen;
    t->slots = slots;
    t->n_slots = 2 * cap;
    t->cap = cap;
    for (size_t i = 0; i < t->n; i++)
        *find_slot(t, &terms[i]) = (uint32_t)i + 1;
    return 0;
}

static int intern(struct term_table *t, const struct term *term, uint32_t *id, struct error *e)
{
    if (t->n == t->cap)
        TRY(grow(t, e));
    uint32_t *slot = find_slot(t, term);
    if (*slot == 0) {
        t->terms[t->n] = *term;
        *slot = (uint32_t)++t->n;
    }
    *id = *slot - 1;
    if (t->seen[*id] != t->passages) {
        t->seen[*id] = t->passages;
        t->spread[*id]++;
    }
    return 0;
}

int term_table_add(struct term_table *t, const char *text, size_t len, struct term_ids *out, struct error *e)
{
    struct term term;
    size_t n = 0, i = 0;
    t->passages++;
    for (struct term_reader r = {.text = text, .len = len}; next_term(&r, &term);)
        n++;
    uint32_t *ids = arena_alloc(t->arena, n + 1, sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    for (struct term_reader r = {.text = text, .len = len}; next_term(&r, &term); i++)
        TRY(intern(t, &term, &ids[i], e));
    out->ids = ids;
    out->n = n;
    return 0;
}

/* ---- queries -------------------------------------------------------------------------------- */

static bool is_number(const struct term *t)
{
    return utf8proc_category(t->chars[0]) == UTF8PROC_CATEGORY_ND;
}

/* Equal, or forms of one word: they share four characters and most of the longer one. */
static bool matches(const struct term *a, const struct term *b)
{
    uint32_t same = 0, longest = a->n > b->n ? a->n : b->n;
    while (same < a->n && same < b->n && a->chars[same] == b->chars[same])
        same++;
    if (same == longest)
        return true;
    return same >= 4 && same * 100 >= longest * 55 && !is_number(a);
}

static bool has_term(const struct term_query *q, const struct term *t)
{
    for (size_t i = 0; i < q->n; i++) {
        if (same_term(&q->terms[i], t))
            return true;
    }
    return false;
}

void term_query_make(const struct term_table *t, const char *text, size_t len, uint8_t *match,
                     struct term_query *out)
{
    struct term term;
    memset(out, 0, sizeof *out);
    memset(match, 0, t->n);
    out->match = match;
    for (struct term_reader r = {.text = text, .len = len}; next_term(&r, &term);) {
        if (out->n < TERMS_OF_QUERY && !has_term(out, &term))
            out->terms[out->n++] = term;
    }
    for (size_t i = 0; i < out->n; i++) {
        double spread = 0;
        for (size_t k = 0; k < t->n; k++) {
            if (!matches(&out->terms[i], &t->terms[k]))
                continue;
            match[k] = (uint8_t)(i + 1);
            spread += t->spread[k];
        }
        uint32_t length = out->terms[i].n < 8 && !is_number(&out->terms[i]) ? out->terms[i].n : 8;
        out->length[i] = (float)length;
        out->rarity[i] = (float)log(1 + (t->passages + 1) / (spread + 1));
    }
}

uint64_t term_query_find(const struct term_query *q, const struct term_ids *ids)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < ids->n; i++) {
        if (q->match[ids->ids[i]])
            bits |= (uint64_t)1 << (q->match[ids->ids[i]] - 1);
    }
    return bits;
}

uint64_t term_query_common(const struct term_query *q, const struct term_query *other)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < q->n; i++) {
        for (size_t k = 0; k < other->n; k++) {
            if (matches(&q->terms[i], &other->terms[k]))
                bits |= (uint64_t)1 << i;
        }
    }
    return bits;
}

float term_query_weigh(const struct term_query *q, uint64_t bits)
{
    float sum = 0;
    for (size_t i = 0; i < q->n; i++)
        sum += bits >> i & 1 ? q->length[i] * q->rarity[i] : 0;
    return sum;
}

float term_query_length(const struct term_query *q, uint64_t bits)
{
    float sum = 0;
    for (size_t i = 0; i < q->n; i++)
        sum += bits >> i & 1 ? q->length[i] : 0;
    return sum;
}
