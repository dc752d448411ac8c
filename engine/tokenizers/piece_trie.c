/* piece_trie.c - see piece_trie.h.  Built by the tokenizer models of this room.
 * Pieces are sorted once; a level of the trie is then a list of runs of that order. */
#include "engine/tokenizers/piece_trie.h"

#include <stdlib.h>

static int compare_pieces(const void *a, const void *b)
{
    const struct trie_piece *x = a, *y = b;
    uint32_t shorter = x->len < y->len ? x->len : y->len;
    int order = shorter ? memcmp(x->text, y->text, shorter) : 0;
    if (order != 0)
        return order;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool same_text(const struct trie_piece *a, const struct trie_piece *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Sorts, and leaves one piece a text; returns how many stay. */
static size_t sort_pieces(struct trie_piece *pieces, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(pieces, n, sizeof *pieces, compare_pieces);
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].len == 0)
            continue;
        if (kept > 0 && same_text(&pieces[kept - 1], &pieces[i]))
            kept--;
        pieces[kept++] = pieces[i];
    }
    return kept;
}

/* A node a byte that a piece does not share with the piece before it, and the root. */
static uint64_t count_nodes(const struct trie_piece *pieces, size_t n)
{
    uint64_t nodes = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = 0;
        while (i > 0 && shared < pieces[i].len && shared < pieces[i - 1].len &&
               pieces[i].text[shared] == pieces[i - 1].text[shared])
            shared++;
        nodes += pieces[i].len - shared;
    }
    return nodes;
}

struct run {
    uint32_t begin, end; /* pieces that start with what leads to a node */
};

/* The children of one node, from the run of pieces that pass through it; returns their end. */
static uint32_t add_children(struct piece_trie *t, const struct trie_piece *pieces, struct run *runs,
                             uint32_t node, uint32_t depth, uint32_t next)
{
    struct run r = runs[node];
    t->ids[node] = -1;
    if (r.begin < r.end && pieces[r.begin].len == depth)
        t->ids[node] = pieces[r.begin++].id;
    t->first[node] = next;
    while (r.begin < r.end) {
        char byte = pieces[r.begin].text[depth];
        struct run child = {r.begin, r.begin};
        while (child.end < r.end && pieces[child.end].text[depth] == byte)
            child.end++;
        t->labels[next] = (uint8_t)byte;
        runs[next++] = child;
        r.begin = child.end;
    }
    return next;
}

static void fill(struct piece_trie *t, const struct trie_piece *pieces, size_t n, struct run *runs)
{
    uint32_t next = 1, level_end = 1, depth = 0;
    runs[0] = (struct run){0, (uint32_t)n};
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        if (node == level_end) {
            level_end = next;
            depth++;
        }
        next = add_children(t, pieces, runs, node, depth, next);
    }
    t->first[t->n_nodes] = next;
    t->longest = depth;
}

int piece_trie_init(struct piece_trie *t, struct trie_piece *pieces, size_t n, struct error *e)
{
    memset(t, 0, sizeof *t);
    n = sort_pieces(pieces, n);
    uint64_t nodes = count_nodes(pieces, n);
    if (nodes >= UINT32_MAX || n >= UINT32_MAX)
        return error_set(e, ERROR_BAD_FORMAT, "the pieces of the vocabulary are too long");
    t->n_nodes = (uint32_t)nodes;
    t->labels = calloc(nodes, sizeof *t->labels);
    t->first = calloc(nodes + 1, sizeof *t->first);
    t->ids = calloc(nodes, sizeof *t->ids);
    struct run *runs = calloc(nodes, sizeof *runs);
    if (t->labels && t->first && t->ids && runs) {
        fill(t, pieces, n, runs);
        free(runs);
        return 0;
    }
    free(runs);
    piece_trie_free(t);
    return error_no_memory(e);
}

void piece_trie_free(struct piece_trie *t)
{
    free(t->labels);
    free(t->first);
    free(t->ids);
    memset(t, 0, sizeof *t);
}

int32_t piece_trie_find(const struct piece_trie *t, const char *text, size_t len)
{
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        if (!piece_trie_step(t, &node, text[i]))
            return -1;
    }
    return t->ids[node];
}

size_t piece_trie_longest(const struct piece_trie *t, const char *text, size_t len, int32_t *id)
{
    uint32_t node = 0;
    size_t longest = 0;
    for (size_t i = 0; i < len && piece_trie_step(t, &node, text[i]); i++) {
        if (t->ids[node] >= 0) {
            longest = i + 1;
            *id = t->ids[node];
        }
    }
    return longest;
}
