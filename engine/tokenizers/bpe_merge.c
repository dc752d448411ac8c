/* bpe_merge.c - see bpe_merge.h. */
#include "engine/tokenizers/bpe_merge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/tokenizers/model.h"

int index_tokens(const struct tokenizer_spec *spec, struct string_table *ids, struct error *e)
{
    TRY(string_table_init(ids, spec->n_tokens, e));
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        int32_t earlier = t->len ? string_table_add(ids, t->text, t->len, (int32_t)i) : -1;
        if (earlier >= 0)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the tokens %" PRId32 " and %zu have the same text \"%.*s\"", earlier, i,
                             t->len < 64 ? (int)t->len : 64, t->text);
    }
    return 0;
}

static struct pair_slot *slot_of(const struct merge_table *t, int32_t left, int32_t right)
{
    size_t i = (size_t)hash_mix((uint64_t)(uint32_t)left, (uint32_t)right) & t->mask;
    while (t->slots[i].left >= 0 && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

static int error_merge(size_t rank, const struct text_view *m, const char *why, struct error *e)
{
    return error_set(e, ERROR_BAD_FORMAT, "merge %zu (\"%.*s\") %s", rank, m->len < 64 ? (int)m->len : 64,
                     m->text, why);
}

/* Bytes of the left part; 0 when there are no two parts. */
static size_t left_length(const struct tokenizer_spec *spec, size_t rank)
{
    const struct text_view *m = &spec->merges[rank];
    if (spec->merge_splits)
        return spec->merge_splits[rank];
    const char *space = m->len > 1 ? memchr(m->text + 1, ' ', m->len - 1) : NULL;
    return space ? (size_t)(space - m->text) : 0;
}

/* Of two parts without the prefix of the second; -1: no such token, -2: out of memory. */
static int32_t find_joined(const struct string_table *ids, const char *left, size_t left_len,
                           const char *right, size_t right_len)
{
    char *joined = malloc(left_len + right_len);
    if (!joined)
        return -2;
    memcpy(joined, left, left_len);
    memcpy(joined + left_len, right, right_len);
    int32_t id = string_table_find(ids, joined, left_len + right_len);
    free(joined);
    return id;
}

static bool is_control(const struct tokenizer_spec *spec, int32_t id)
{
    return token_is_control(spec->tokens[id].type);
}

static int add_merge(struct merge_table *t, const struct tokenizer_spec *spec, const struct string_table *ids,
                     size_t rank, size_t prefix_len, unsigned flags, struct error *e)
{
    const struct text_view *m = &spec->merges[rank];
    size_t left_len = left_length(spec, rank);
    t->merged[rank] = -1;
    if (left_len == 0 || left_len + 1 >= m->len)
        return error_merge(rank, m, "is not two tokens with a space between", e);
    const char *right_text = m->text + left_len + 1;
    size_t right_len = m->len - left_len - 1;
    int32_t left = string_table_find(ids, m->text, left_len);
    int32_t right = string_table_find(ids, right_text, right_len);
    if (left < 0 || right < 0)
        return error_merge(rank, m, "names a token that is not in the vocabulary", e);
    if (right_len < prefix_len)
        return error_merge(rank, m, "has a second token that is shorter than the prefix it should have", e);
    int32_t merged = find_joined(ids, m->text, left_len, right_text + prefix_len, right_len - prefix_len);
    if (merged == -2)
        return error_no_memory(e);
    if (merged < 0)
        return error_merge(rank, m, "makes a token that is not in the vocabulary", e);
    if (is_control(spec, merged) ||
        ((flags & MERGES_SKIP_CONTROL) && (is_control(spec, left) || is_control(spec, right))))
        return 0;
    struct pair_slot *slot = slot_of(t, left, right);
    if (slot->left < 0 || !(flags & MERGES_FIRST_WINS)) {
        *slot = (struct pair_slot){left, right, (uint32_t)rank};
        t->merged[rank] = merged;
    }
    return 0;
}

int merge_table_init(struct merge_table *t, const struct tokenizer_spec *spec, const struct string_table *ids,
                     size_t prefix_len, unsigned flags, struct error *e)
{
    size_t size = 16;
    if (spec->n_merges >= UINT32_MAX)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has too many merges");
    while (size / 2 < spec->n_merges)
        size *= 2;
    t->slots = calloc(size, sizeof *t->slots);
    t->merged = calloc(spec->n_merges + 1, sizeof *t->merged);
    if (!t->slots || !t->merged)
        return error_no_memory(e);
    for (size_t i = 0; i < size; i++)
        t->slots[i].left = -1;
    t->mask = size - 1;
    for (size_t i = 0; i < spec->n_merges; i++)
        TRY(add_merge(t, spec, ids, i, prefix_len, flags, e));
    return 0;
}

void merge_table_free(struct merge_table *t)
{
    free(t->slots);
    free(t->merged);
    memset(t, 0, sizeof *t);
}

void merge_word_free(struct merge_word *w)
{
    free(w->symbols);
    free(w->heap.keys);
    memset(w, 0, sizeof *w);
}

/* A word of n symbols starts with at most n-1 candidates, and each of its at most n-1 merges adds two. */
int merge_word_reserve(struct merge_word *w, size_t n, struct error *e)
{
    w->n = 0;
    if (n >= UINT32_MAX / 4)
        return error_set(e, ERROR_INVALID_REQUEST, "the text has a word of %zu bytes", n);
    if (n > w->cap) {
        struct symbol *symbols = realloc(w->symbols, n * sizeof *symbols);
        if (!symbols)
            return error_no_memory(e);
        w->symbols = symbols;
        w->cap = n;
    }
    if (3 * n > w->heap.cap) {
        uint64_t *keys = realloc(w->heap.keys, 3 * n * sizeof *keys);
        if (!keys)
            return error_no_memory(e);
        w->heap.keys = keys;
        w->heap.cap = 3 * n;
    }
    return 0;
}

static void push_candidate(const struct merge_table *t, struct merge_word *w, uint32_t left)
{
    struct symbol *l = &w->symbols[left];
    l->rank = NO_SYMBOL;
    if (l->next == NO_SYMBOL)
        return;
    const struct pair_slot *slot = slot_of(t, l->id, w->symbols[l->next].id);
    if (slot->left < 0)
        return;
    l->rank = slot->rank;
    merge_heap_push(&w->heap, (uint64_t)slot->rank << 32 | left);
}

/* Entries are not taken out of the heap when a neighbour changes: an entry counts only while the pair at its
 * place makes the same token, whatever its parts are now. */
void merge_word_run(struct merge_word *w, const struct merge_table *t)
{
    w->heap.n = 0;
    w->symbols[w->n - 1].next = NO_SYMBOL;
    for (uint32_t i = 0; i < w->n; i++)
        push_candidate(t, w, i);
    while (w->heap.n > 0) {
        uint64_t entry = merge_heap_pop(&w->heap);
        uint32_t left = (uint32_t)entry, rank = (uint32_t)(entry >> 32);
        struct symbol *l = &w->symbols[left];
        if (l->id < 0 || l->rank == NO_SYMBOL || (l->rank != rank && t->merged[l->rank] != t->merged[rank]))
            continue;
        struct symbol *r = &w->symbols[l->next];
        l->id = t->merged[rank];
        l->len += r->len;
        r->id = -1;
        l->next = r->next;
        if (l->next != NO_SYMBOL)
            w->symbols[l->next].prev = left;
        if (l->prev != NO_SYMBOL)
            push_candidate(t, w, l->prev);
        push_candidate(t, w, left);
    }
}
